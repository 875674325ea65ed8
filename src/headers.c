#include "headers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "texts.h"

/*
 * Linux 5.2's mount calls, which glibc names since 2.36 only; the numbers are the same everywhere.
 */
#ifndef SYS_fsopen
#define SYS_fsopen   430
#define SYS_fsconfig 431
#define SYS_fsmount  432
#endif
#define FLAG_CLOEXEC         1    /* FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC */
#define FSCONFIG_CREATE      6    /* FSCONFIG_CMD_CREATE */
#define ATTRIBUTES_NO_DEVICE 0x0e /* MOUNT_ATTR_NOSUID | _NODEV | _NOEXEC */

/* A tmpfs that is mounted nowhere. Returns the descriptor of its root, or -1. */
static int open_memory(void)
{
    int root = -1, context = (int)syscall(SYS_fsopen, "tmpfs", FLAG_CLOEXEC);

    if (context < 0)
        return -1;
    if (syscall(SYS_fsconfig, context, FSCONFIG_CREATE, NULL, NULL, 0) == 0)
        root = (int)syscall(SYS_fsmount, context, FLAG_CLOEXEC, ATTRIBUTES_NO_DEVICE);
    close(context);
    return root;
}

/* Removes what write_tree wrote. */
static void remove_tree(int root)
{
    static const char *const folders[] = {
        "include/uapi/linux", "include/uapi", "include/linux", "include/asm", "include",
    };

    for (const struct text_file *file = text_files; file->path != NULL; ++file) {
        char path[PATH_MAX];
        if (strncmp(file->path, "kernel/", 7) != 0)
            continue;
        snprintf(path, sizeof(path), "include/%s", file->path + 7);
        unlinkat(root, path, 0);
    }
    unlinkat(root, "include/linux/version.h", 0);
    for (size_t i = 0; i != sizeof(folders) / sizeof(folders[0]); ++i)
        unlinkat(root, folders[i], AT_REMOVEDIR);
}

/* A folder is named after its process: what a process that was killed has left is told by that. */
#define FOLDER_NAME "h2olog."

/* Removes the folders of processes that are no more. */
static void remove_stale(const char *parent)
{
    DIR *folder = opendir(parent);
    struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        struct stat left;
        int root;
        pid_t pid;
        if (strncmp(entry->d_name, FOLDER_NAME, strlen(FOLDER_NAME)) != 0)
            continue;
        pid = (pid_t)strtol(entry->d_name + strlen(FOLDER_NAME), NULL, 10);
        if (pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH)
            continue;
        root =
            openat(dirfd(folder), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (root >= 0 && fstat(root, &left) == 0 && left.st_uid == geteuid()) {
            remove_tree(root);
            unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR);
        }
        if (root >= 0)
            close(root);
    }
    if (folder != NULL)
        closedir(folder);
}

/*
 * A folder that only this user can enter, where root alone, or everybody with the sticky bit, can
 * write.
 */
static int open_folder(struct headers *headers)
{
    static const char *const parents[] = {"/run", "/dev/shm", "/tmp"};

    for (size_t i = 0; i != sizeof(parents) / sizeof(parents[0]); ++i) {
        remove_stale(parents[i]);
        snprintf(headers->path, sizeof(headers->path), "%s/" FOLDER_NAME "%d.XXXXXX", parents[i],
                 (int)getpid());
        if (mkdtemp(headers->path) != NULL) {
            headers->is_folder = 1;
            return open(headers->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
    }
    return -1;
}

/* Makes the folders on the way to a file, and the file. Returns 0, or -1 with errno. */
static int write_file(int root, const char *path, const char *content)
{
    char parent[PATH_MAX];
    size_t size = strlen(content);
    ssize_t written;
    int fd;

    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
        if (mkdirat(root, parent, 0700) != 0 && errno != EEXIST)
            return -1;
    }
    fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    written = write(fd, content, size);
    if (written >= 0 && (size_t)written != size)
        errno = ENOSPC;
    close(fd);
    return written >= 0 && (size_t)written == size ? 0 : -1;
}

static int write_tree(int root, uint32_t kernel_version)
{
    char version[256];

    for (const struct text_file *file = text_files; file->path != NULL; ++file) {
        char path[PATH_MAX];
        if (strncmp(file->path, "kernel/", 7) != 0)
            continue;
        snprintf(path, sizeof(path), "include/%s", file->path + 7);
        if (write_file(root, path, file->content) != 0)
            return -1;
    }
    snprintf(
        version, sizeof(version),
        "#define LINUX_VERSION_CODE %u\n"
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))\n",
        kernel_version);
    return write_file(root, "include/linux/version.h", version);
}

int headers_open(struct headers *headers, uint32_t kernel_version, char *error, size_t error_size)
{
    headers->is_folder = 0;
    headers->seen_as = headers->path;
    headers->outer_root = headers->outer_folder = -1;
    headers->root = open_memory();
    if (headers->root >= 0)
        snprintf(headers->path, sizeof(headers->path), "/proc/self/fd/%d", headers->root);
    else
        headers->root = open_folder(headers);
    if (headers->root < 0) {
        snprintf(error, error_size, "no private folder can be made in /run, /dev/shm or /tmp: %s",
                 strerror(errno));
        return -1;
    }
    if (write_tree(headers->root, kernel_version) != 0) {
        snprintf(error, error_size, "%s has no room for the headers of the compiler: %s",
                 headers->path, strerror(errno));
        return -1;
    }
    return 0;
}

void headers_enter(struct headers *headers)
{
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int folder = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (root >= 0 && folder >= 0 && fchdir(headers->root) == 0) {
        if (chroot(".") == 0) {
            headers->seen_as = "/";
            headers->outer_root = root;
            headers->outer_folder = folder;
            return;
        }
        (void)!fchdir(folder);
    }
    if (root >= 0)
        close(root);
    if (folder >= 0)
        close(folder);
}

int headers_leave(struct headers *headers)
{
    int result;

    if (headers->outer_root < 0)
        return 0;
    result =
        fchdir(headers->outer_root) == 0 && chroot(".") == 0 && fchdir(headers->outer_folder) == 0
            ? 0
            : -1;
    close(headers->outer_root);
    close(headers->outer_folder);
    headers->outer_root = headers->outer_folder = -1;
    return result;
}

void headers_close(struct headers *headers)
{
    if (headers->is_folder) {
        remove_tree(headers->root);
        rmdir(headers->path);
    }
    if (headers->root >= 0)
        close(headers->root);
    headers->root = -1;
}
