#include "kernel/headers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/embedded.h"

/*
 * The mount system calls of Linux 5.2. glibc's headers have them since 2.36.
 */
#ifndef SYS_fsopen
#define SYS_fsopen   430
#define SYS_fsconfig 431
#define SYS_fsmount  432
#endif
#define FLAG_CLOEXEC         1    /* FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC */
#define FSCONFIG_CREATE      6    /* FSCONFIG_CMD_CREATE */
#define ATTRIBUTES_NO_DEVICE 0x0e /* MOUNT_ATTR_NOSUID | _NODEV | _NOEXEC */

/* Creates a tmpfs without mounting it. Returns a descriptor of its root, or -1 with errno. */
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

/* Removes the files and folders that write_tree has written. */
static void remove_tree(int root)
{
    static const char *const folders[] = {
        "include/uapi/linux", "include/uapi", "include/linux", "include/asm", "include",
    };

    for (const struct embedded_file *file = embedded_files; file->path != NULL; ++file) {
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

/* The name of a folder has the PID, for information. The folder is locked while it is in use. */
#define FOLDER_NAME "h2olog."

static const char *const parents[] = {"/run", "/dev/shm", "/tmp"};
#define NUM_PARENTS (sizeof(parents) / sizeof(parents[0]))

static int open_locked(int parent, const char *name, int wait)
{
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (folder >= 0 && flock(folder, LOCK_EX | (wait ? 0 : LOCK_NB)) != 0) {
        int reason = errno;
        close(folder);
        errno = reason;
        folder = -1;
    }
    return folder;
}

/* Removes folders of this user that are not locked: killed runs have left them. */
static void remove_stale(const char *parent)
{
    DIR *entries = opendir(parent);
    int parent_fd = entries != NULL ? dirfd(entries) : -1;
    struct dirent *entry;

    while (parent_fd >= 0 && (entry = readdir(entries)) != NULL) {
        struct stat left;
        int end = 0, folder = -1;
        sscanf(entry->d_name, FOLDER_NAME "%*[0-9].%*6[0-9a-zA-Z]%n", &end);
        if (end != 0 && entry->d_name[end] == '\0')
            folder = open_locked(parent_fd, entry->d_name, 0);
        if (folder < 0)
            continue;
        if (fstat(folder, &left) == 0 && left.st_uid == geteuid()) {
            remove_tree(folder);
            unlinkat(parent_fd, entry->d_name, AT_REMOVEDIR);
        }
        close(folder);
    }
    if (entries != NULL)
        closedir(entries);
}

/*
 * Creates and locks a folder that only this user can enter. Other users cannot rename it, because
 * the parents belong to root or have the sticky bit. Returns its descriptor, or -1 with errno.
 */
static int make_folder(struct headers *headers, const char *parent)
{
    struct stat made;
    int folder;

    do { /* until the folder is locked, another run may remove it as stale */
        snprintf(headers->path, sizeof(headers->path), "%s/" FOLDER_NAME "%d.XXXXXX", parent,
                 (int)getpid());
        if (mkdtemp(headers->path) == NULL)
            return -1;
        folder = open_locked(AT_FDCWD, headers->path, 1);
    } while (folder < 0 ? errno == ENOENT : fstat(folder, &made) == 0 && made.st_nlink == 0);
    headers->is_folder = 1;
    return folder;
}

/* Creates a file and the folders of its path. Returns 0, or -1 with errno. */
static int write_file(int root, const char *path, const char *content)
{
    char parent[PATH_MAX];
    size_t size = strlen(content);
    ssize_t written;
    int fd, code;

    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
        if (mkdirat(root, parent, 0700) != 0 && errno != EEXIST)
            return -1;
    }
    fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    written = write(fd, content, size);
    code = written < 0 ? errno : ENOSPC;
    close(fd);
    errno = code;
    return written >= 0 && (size_t)written == size ? 0 : -1;
}

static int write_tree(int root, uint32_t kernel_version)
{
    char version[256];

    for (const struct embedded_file *file = embedded_files; file->path != NULL; ++file) {
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

static int open_in_memory(struct headers *headers, uint32_t kernel_version)
{
    headers->root = open_memory();
    snprintf(headers->path, sizeof(headers->path), "/proc/self/fd/%d", headers->root);
    return headers->root < 0 ? -1 : write_tree(headers->root, kernel_version);
}

static int open_in_folder(struct headers *headers, uint32_t kernel_version, const char *parent,
                          struct error *error)
{
    headers->root = make_folder(headers, parent);
    if (headers->root < 0) {
        return error_set(error, ERROR_FAILED,
                         "cannot create a private folder in /run, /dev/shm or /tmp: %s",
                         strerror(errno));
    }
    if (write_tree(headers->root, kernel_version) != 0) {
        return error_set(error, ERROR_FAILED, "cannot write the compiler's headers to %s: %s%s",
                         parent, strerror(errno),
                         errno == EMFILE ? "; raise the limit of open files (ulimit -n)" : "");
    }
    return 0;
}

int headers_open(struct headers *headers, uint32_t kernel_version, struct error *error)
{
    headers->is_folder = 0;
    headers->seen_as = headers->path;
    headers->outer_root = headers->outer_folder = -1;
    for (size_t i = 0; i != NUM_PARENTS; ++i)
        remove_stale(parents[i]);
    if (open_in_memory(headers, kernel_version) == 0)
        return 0;
    for (size_t i = 0; i != NUM_PARENTS; ++i) {
        headers_close(headers);
        if (open_in_folder(headers, kernel_version, parents[i], error) == 0) {
            *error = (struct error){0}; /* errors of the previous parents do not count */
            return 0;
        }
    }
    return -1;
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
    result = fchdir(headers->outer_root) == 0 && chroot(".") == 0 && chdir("/") == 0 &&
                     fchdir(headers->outer_folder) == 0
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
        if (headers->root >= 0)
            remove_tree(headers->root);
        rmdir(headers->path);
        headers->is_folder = 0;
    }
    if (headers->root >= 0)
        close(headers->root);
    headers->root = -1;
}
