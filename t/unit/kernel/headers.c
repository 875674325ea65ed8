#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/embedded.h"
#include "kernel/headers.h"
#include "kernel/linux_version.h"
#include "memory.h"

#define VERSION (LINUX_VERSION(6, 12) | 34)

/* Returns the content of a file, NULL if there is none. Free it with free(). */
static char *read_at(int folder, const char *path)
{
    char *text = memory_grow(NULL, 1 << 16, 1);
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, (1 << 16) - 1) : -1;

    if (fd >= 0)
        close(fd);
    if (size < 0) {
        free(text);
        return NULL;
    }
    text[size] = '\0';
    return text;
}

/* Returns the path of a file that differs from the embedded one, or NULL. */
static const char *find_wrong_file(int root, size_t *count)
{
    *count = 0;
    for (const struct embedded_file *file = embedded_files; file->path != NULL; ++file) {
        char path[256], *text;
        bool is_right;
        if (strncmp(file->path, "kernel/", 7) != 0)
            continue;
        snprintf(path, sizeof(path), "include/%s", file->path + 7);
        text = read_at(root, path);
        is_right = text != NULL && strcmp(text, file->content) == 0;
        free(text);
        if (!is_right)
            return file->path;
        ++*count;
    }
    return NULL;
}

static void check_tree(int root)
{
    size_t count;
    const char *wrong = find_wrong_file(root, &count);
    char *version;

    if (wrong != NULL)
        fail_msg("%s is missing or other than bpf/%s", wrong, wrong);
    assert_true(count >= 8);
    version = read_at(root, "include/linux/version.h");
    check_string("version.h", version,
                 "#define LINUX_VERSION_CODE 396322\n"
                 "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : "
                 "(c)))\n");
    free(version);
}

static void writes_tree(void **state)
{
    struct error error = {0};
    struct headers headers;

    (void)state;
    assert_int_equal(headers_open(&headers, VERSION, &error), 0);
    check_string("error", error.text, "");
    check_tree(headers.root);
    headers_close(&headers);
    assert_int_equal(headers.root, -1);
}

/* For root, the tree is in memory: it is not visible, and nothing is left on disk. */
static void tree_is_in_memory(void **state)
{
    char expected[64];
    struct error error = {0};
    struct headers headers;
    struct stat root, disk;

    (void)state;
    child_needs_root();
    assert_int_equal(headers_open(&headers, VERSION, &error), 0);
    assert_false(headers.is_folder);
    snprintf(expected, sizeof(expected), "/proc/self/fd/%d", headers.root);
    check_string("path", headers.path, expected);
    assert_int_equal(fstat(headers.root, &root), 0);
    assert_int_equal(stat("/", &disk), 0);
    assert_true(root.st_dev != disk.st_dev);
    headers_close(&headers);
}

static int enter_and_leave(const void *argument)
{
    struct headers headers;
    struct stat before, after;

    (void)argument;
    if (chdir("/proc/self") != 0 || stat(".", &before) != 0)
        return 1;
    if (headers_open(&headers, VERSION, child_error) != 0)
        return 2;
    headers_enter(&headers);
    if (strcmp(headers.seen_as, "/") != 0 || access("/include/linux/types.h", R_OK) != 0)
        return 3;
    if (access("/proc", F_OK) == 0 || access("/usr", F_OK) == 0)
        return 4;
    if (headers_leave(&headers) != 0)
        return 5;
    if (access("/proc/self/status", R_OK) != 0 || access("/include/linux/types.h", R_OK) == 0)
        return 6;
    if (stat(".", &after) != 0 || after.st_ino != before.st_ino || after.st_dev != before.st_dev)
        return 7;
    headers_close(&headers);
    return 0;
}

static void tree_is_the_root_folder(void **state)
{
    (void)state;
    child_needs_root();
    child_check("headers_enter", child_run(enter_and_leave, NULL));
}

/* Without these capabilities, the kernel refuses the file system in memory, and chroot(2). */
static int drop_capabilities(void)
{
    return child_drop_capabilities(1u << CAP_SYS_ADMIN | 1u << CAP_SYS_CHROOT);
}

static int use_folder(const void *argument)
{
    struct headers headers;
    struct stat folder;
    size_t count;

    (void)argument;
    if (drop_capabilities() != 0 || headers_open(&headers, VERSION, child_error) != 0)
        return 1;
    if (!headers.is_folder || strstr(headers.path, "/h2olog.") == NULL)
        return 2;
    if (stat(headers.path, &folder) != 0 || (folder.st_mode & 07777) != 0700 ||
        folder.st_uid != geteuid())
        return 3;
    if (find_wrong_file(headers.root, &count) != NULL || count < 8)
        return 4;
    headers_enter(&headers); /* it cannot be entered, so its path is used */
    if (strcmp(headers.seen_as, headers.path) != 0 || access("/proc", F_OK) != 0)
        return 5;
    if (headers_leave(&headers) != 0)
        return 6;
    headers_close(&headers);
    return access(headers.path, F_OK) != 0 && errno == ENOENT ? 0 : 7;
}

static void uses_a_folder_without_capabilities(void **state)
{
    (void)state;
    child_needs_root();
    child_check("a folder", child_run(use_folder, NULL));
}

/* Makes a folder as a killed h2olog leaves it: "h2olog.PID.XXXXXX", with a file. */
static void make_folder(char *path, size_t size, const char *name)
{
    char file[256];
    int fd;

    snprintf(path, size, "/tmp/%s", name);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(file, sizeof(file), "%s/include", path);
    assert_int_equal(mkdir(file, 0700), 0);
    snprintf(file, sizeof(file), "%s/include/linux", path);
    assert_int_equal(mkdir(file, 0700), 0);
    snprintf(file, sizeof(file), "%s/include/linux/version.h", path);
    fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void remove_folder(const char *path)
{
    static const char *const inside[] = {"/include/linux/version.h", "/include/linux", "/include",
                                         ""};

    for (size_t i = 0; i != sizeof(inside) / sizeof(inside[0]); ++i) {
        char name[256];
        snprintf(name, sizeof(name), "%s%s", path, inside[i]);
        assert_int_equal(remove(name), 0);
    }
}

static void removes_stale_folders(void **state)
{
    char stale[128], used[128], foreign[128], other[128], name[64];
    struct error error = {0};
    struct headers headers;
    int lock;

    (void)state;
    child_needs_root();
    snprintf(name, sizeof(name), "h2olog.%d.AbCdE1", (int)getpid());
    make_folder(stale, sizeof(stale), name);
    snprintf(name, sizeof(name), "h2olog.%d.AbCdE2", (int)getpid());
    make_folder(used, sizeof(used), name);
    lock = open(used, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    snprintf(name, sizeof(name), "h2olog.%d.AbCdE3", (int)getpid());
    make_folder(foreign, sizeof(foreign), name);
    assert_int_equal(chown(foreign, 65533, 65533), 0);
    snprintf(name, sizeof(name), "h2olog.%d.AbCdE4.log", (int)getpid());
    make_folder(other, sizeof(other), name);

    assert_int_equal(headers_open(&headers, VERSION, &error), 0);
    headers_close(&headers);
    assert_int_equal(access(stale, F_OK), -1);
    remove_folder(used); /* it still exists, with its content */
    remove_folder(foreign);
    remove_folder(other);
    close(lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_tree),
        cmocka_unit_test(tree_is_in_memory),
        cmocka_unit_test(tree_is_the_root_folder),
        cmocka_unit_test(uses_a_folder_without_capabilities),
        cmocka_unit_test(removes_stale_folders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
