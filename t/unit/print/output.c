#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "root/caller.h"

#define STRANGER 12345
#define CALLER   23456
#define GROUP    34567

static const struct caller *self(void)
{
    static struct caller caller;

    caller = (struct caller){geteuid(), getegid()};
    return &caller;
}

static const struct caller stranger = {CALLER, GROUP};

/* A folder for the files of each test, removed with its content. */
struct folder {
    char path[64], file[96];
};

static int folder_open(void **state)
{
    static struct folder folder;

    umask(022); /* independent of the user's */
    strcpy(folder.path, "/tmp/h2olog-unit.XXXXXX");
    if (mkdtemp(folder.path) == NULL)
        return -1;
    snprintf(folder.file, sizeof(folder.file), "%s/file", folder.path);
    *state = &folder;
    return 0;
}

static int folder_close(void **state)
{
    struct folder *folder = *state;

    unlink(folder->file);
    return rmdir(folder->path);
}

static char *read_file(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    char *text;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &stat), 0);
    text = memory_grow(NULL, (size_t)stat.st_size + 1, 1);
    *size = (size_t)stat.st_size;
    assert_int_equal(read(fd, text, *size), *size);
    text[*size] = '\0';
    close(fd);
    return text;
}

static void check_file(const char *path, const char *expected)
{
    size_t size;
    char *text = read_file(path, &size);

    check_string(path, text, expected);
    free(text);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void write_line(struct output *output, const char *text)
{
    output_string(output, text);
    output_end_line(output);
}

static void numbers(void **state)
{
    static const uint64_t unsigneds[] = {0,
                                         1,
                                         9,
                                         10,
                                         99,
                                         100,
                                         4294967295u,
                                         4294967296u,
                                         1795347824594u,
                                         9999999999999999999u,
                                         10000000000000000000u,
                                         UINT64_MAX};
    static const int64_t signeds[] = {
        0, 1, -1, 9, -9, -10, 2147483647, -2147483648, INT64_MAX, INT64_MIN, INT64_MIN + 1};
    struct output output;
    char expected[32], *text;

    (void)state;
    printed_open(&output);
    for (size_t i = 0; i != sizeof(unsigneds) / sizeof(unsigneds[0]); ++i) {
        output_unsigned(&output, unsigneds[i]);
        output_end_line(&output);
        text = printed_take(&output);
        snprintf(expected, sizeof(expected), "%" PRIu64 "\n", unsigneds[i]);
        check_string("output_unsigned", text, expected);
        free(text);
    }
    for (size_t i = 0; i != sizeof(signeds) / sizeof(signeds[0]); ++i) {
        output_signed(&output, signeds[i]);
        output_end_line(&output);
        text = printed_take(&output);
        snprintf(expected, sizeof(expected), "%" PRId64 "\n", signeds[i]);
        check_string("output_signed", text, expected);
        free(text);
    }
    printed_close(&output);
}

static void bytes_and_hex(void **state)
{
    const uint8_t bytes[] = {0x00, 0x01, 0x7f, 0x80, 0xab, 0xff};
    struct output output;
    char *text;

    (void)state;
    printed_open(&output);
    output_hex(&output, bytes, sizeof(bytes));
    output_hex(&output, bytes, 0);
    output_string(&output, " ");
    output_bytes(&output, "abc", 2);
    output_bytes(&output, NULL, 0);
    output_string(&output, "");
    output_end_line(&output);
    text = printed_take(&output);
    check_string("a line of all", text, "00017f80abff ab\n");
    free(text);
    printed_close(&output);
}

/* Lines wait for output_flush, and an incomplete line waits for its end. */
static void flushes_complete_lines(void **state)
{
    struct folder *folder = *state;
    struct output output;

    assert_null(output_open(&output, folder->file, self(), -1));
    write_line(&output, "one");
    output_string(&output, "two");
    check_file(folder->file, "");
    assert_int_equal(output_flush(&output), 0);
    check_file(folder->file, "one\n");
    assert_int_equal(output_flush(&output), 0);
    check_file(folder->file, "one\n");
    output_string(&output, " and more");
    output_end_line(&output);
    assert_int_equal(output_flush(&output), 0);
    check_file(folder->file, "one\ntwo and more\n");
    assert_int_equal(output.lines, 2);
    assert_int_equal(output.dropped, 0);
    assert_int_equal(output.error, 0);
    output_close(&output);
}

static void drops_an_incomplete_line(void **state)
{
    struct output output;
    char *text;

    (void)state;
    printed_open(&output);
    write_line(&output, "one");
    output_string(&output, "not this");
    output_drop_line(&output);
    output_drop_line(&output);
    write_line(&output, "two");
    output_string(&output, "nor this");
    assert_int_equal(output_flush(&output), 0);
    output_drop_line(&output);
    write_line(&output, "three");
    text = printed_take(&output);
    check_string("lines", text, "one\ntwo\nthree\n");
    assert_int_equal(output.lines, 3);
    free(text);
    printed_close(&output);
}

/*
 * When the buffer is full, all complete lines are written in order.
 */
static void writes_batches(void **state)
{
    struct folder *folder = *state;
    const size_t count = 60000;
    struct output output;
    size_t size, before_flush;
    char *text, *at;

    assert_null(output_open(&output, folder->file, self(), -1));
    for (size_t i = 0; i != count; ++i) {
        output_string(&output, "line ");
        output_unsigned(&output, i);
        output_end_line(&output);
    }
    text = read_file(folder->file, &before_flush);
    assert_true(before_flush > 0); /* 0.6 MB is more than the buffer */
    assert_int_equal(text[before_flush - 1], '\n');
    free(text);
    assert_int_equal(output_flush(&output), 0);
    assert_int_equal(output.lines, count);
    output_close(&output);
    at = text = read_file(folder->file, &size);
    assert_true(size > before_flush);
    for (size_t i = 0; i != count; ++i) {
        char expected[32];
        int length = snprintf(expected, sizeof(expected), "line %zu\n", i);
        if (strncmp(at, expected, (size_t)length) != 0)
            fail_msg("line %zu is not where it has to be", i);
        at += length;
    }
    assert_int_equal(*at, '\0');
    free(text);
}

/* The longest lines one after the other, at every fill level of the buffer. */
static void long_lines_are_whole(void **state)
{
    const size_t pieces = 3;
    struct folder *folder = *state;
    struct output output;
    size_t size, at = 0;
    char *text;

    assert_null(output_open(&output, folder->file, self(), -1));
    for (size_t nth = 0; nth != 40; ++nth) {
        for (size_t i = 0; i != pieces; ++i) {
            char *room = output_reserve(&output, OUTPUT_RESERVE_MAX);
            memset(room, (int)('a' + i), OUTPUT_RESERVE_MAX);
            output_advance(&output, OUTPUT_RESERVE_MAX - nth * 17);
        }
        output_end_line(&output);
    }
    assert_int_equal(output_flush(&output), 0);
    output_close(&output);
    text = read_file(folder->file, &size);
    for (size_t nth = 0; nth != 40; ++nth) {
        const size_t length = OUTPUT_RESERVE_MAX - nth * 17;
        for (size_t i = 0; i != pieces; ++i) {
            assert_true(at + length <= size);
            for (size_t j = 0; j != length; ++j)
                assert_int_equal(text[at + j], 'a' + (int)i);
            at += length;
        }
        assert_int_equal(text[at++], '\n');
    }
    assert_int_equal(at, size);
    free(text);
}

/* The buffer grows for a line that is longer than it. The line before it stays as it is. */
static void endless_line_is_whole(void **state)
{
    const size_t pieces = 1000;
    struct output output;
    char *text;

    (void)state;
    printed_open(&output);
    write_line(&output, "before");
    for (size_t i = 0; i != pieces; ++i)
        memset(output_reserve(&output, OUTPUT_RESERVE_MAX), 'x', OUTPUT_RESERVE_MAX),
            output_advance(&output, OUTPUT_RESERVE_MAX);
    output_end_line(&output);
    write_line(&output, "after");
    text = printed_take(&output);
    assert_int_equal(strlen(text), strlen("before\n\nafter\n") + pieces * OUTPUT_RESERVE_MAX);
    assert_memory_equal(text, "before\nx", 8);
    assert_int_equal(strspn(text + strlen("before\n"), "x"), pieces * OUTPUT_RESERVE_MAX);
    check_string("the end", text + strlen(text) - 8, "x\nafter\n");
    free(text);
    printed_close(&output);
}

/*
 * The file is emptied by output_begin only.
 */
static void file_is_emptied(void **state)
{
    struct folder *folder = *state;
    struct output output;

    write_file(folder->file, "what was there\n");
    assert_null(output_open(&output, folder->file, self(), -1));
    assert_false(output.created);
    check_file(folder->file, "what was there\n");
    assert_int_equal(output_begin(&output), 0);
    check_file(folder->file, "");
    write_line(&output, "new");
    assert_int_equal(output_flush(&output), 0);
    output_close(&output);
    check_file(folder->file, "new\n");
}

static void only_root(void)
{
    if (geteuid() != 0)
        skip();
}

/* A new file belongs to the caller from the start, and nobody else can read it. */
static void new_file_belongs_to_the_caller(void **state)
{
    struct folder *folder = *state;
    struct output output;
    struct stat stat;

    only_root();
    assert_int_equal(chown(folder->path, CALLER, GROUP), 0);
    assert_null(output_open(&output, folder->file, &stranger, -1));
    assert_true(output.created);
    assert_int_equal(fstat(output.fd, &stat), 0);
    assert_int_equal(stat.st_uid, CALLER);
    assert_int_equal(stat.st_gid, GROUP);
    assert_int_equal(stat.st_mode & 0777, 0600);
    assert_int_equal(output_begin(&output), 0);
    assert_int_equal(output_close(&output), 0);
    assert_int_equal(access(folder->file, F_OK), 0);
}

/* The identity of a process for files: ids and capabilities. */
struct rights {
    uid_t uid;
    gid_t gid;
    gid_t groups[8];
    int num_groups, dumpable;
    struct __user_cap_data_struct capabilities[2];
};

static struct rights rights_now(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct rights rights;

    memset(&rights, 0, sizeof(rights));
    rights.uid = (uid_t)setfsuid((uid_t)-1);
    rights.gid = (gid_t)setfsgid((gid_t)-1);
    rights.num_groups = getgroups(8, rights.groups);
    rights.dumpable = prctl(PR_GET_DUMPABLE);
    assert_int_equal(syscall(SYS_capget, &header, rights.capabilities), 0);
    return rights;
}

/* Opening does not change the identity of the process, in success and in failure. */
static void identity_is_restored(void **state)
{
    const gid_t groups[] = {4, 27};
    struct folder *folder = *state;
    struct rights before, after;
    struct output output;

    only_root();
    assert_int_equal(setgroups(2, groups), 0);
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1),
                     0); /* a change of ids sets it to fs.suid_dumpable */
    before = rights_now();
    assert_int_equal(chown(folder->path, CALLER, GROUP), 0);
    assert_null(output_open(&output, folder->file, &stranger, -1));
    after = rights_now();
    assert_memory_equal(&after, &before, sizeof(after));
    assert_int_equal(output_close(&output), 0); /* removes the file */
    after = rights_now();
    assert_memory_equal(&after, &before, sizeof(after));
    assert_int_equal(access(folder->file, F_OK), -1);
    assert_non_null(output_open(&output, "/nonexistent/file", &stranger, -1));
    after = rights_now();
    assert_memory_equal(&after, &before, sizeof(after));
    assert_int_equal(setgroups(0, NULL), 0);
}

/* While a file is opened, the process has no right of root. */
static void enters_as_the_caller(void **state)
{
    struct caller_entered entered;
    struct rights rights;

    (void)state;
    only_root();
    assert_int_equal(caller_enter(&stranger, &entered), 0);
    rights = rights_now();
    caller_leave(&entered);
    assert_int_equal(rights.uid, CALLER);
    assert_int_equal(rights.gid, GROUP);
    assert_int_equal(rights.num_groups, 1);
    assert_int_equal(rights.groups[0], GROUP);
    assert_int_equal(rights.capabilities[0].effective, 0);
    assert_int_equal(rights.capabilities[1].effective, 0);
}

/*
 * Without uid 0, files are opened with the ids of the process, but without its capabilities.
 */
static int open_with_a_capability(const char *path)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{1u << CAP_DAC_OVERRIDE, 1u << CAP_DAC_OVERRIDE, 0},
                                             {0, 0, 0}};
    const struct caller root = {0, 0}; /* ignored without uid 0 */
    struct output output;

    if (prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, NULL) != 0 ||
        setresgid(GROUP, GROUP, GROUP) != 0 || setresuid(CALLER, CALLER, CALLER) != 0 ||
        syscall(SYS_capset, &header, data) != 0)
        return 1;
    if (access(path, F_OK) != 0 || open(path, O_WRONLY | O_CLOEXEC) < 0)
        return 2; /* the capability is there */
    if (output_open(&output, path, &root, -1) == NULL ||
        output_open(&output, path, &stranger, -1) == NULL)
        return 3;
    return open(path, O_WRONLY | O_CLOEXEC) < 0 ? 4 : 0; /* and works again */
}

static void capabilities_do_not_open_files(void **state)
{
    struct folder *folder = *state;
    int status;
    pid_t child;

    only_root();
    write_file(folder->file, "precious\n");
    assert_int_equal(chmod(folder->file, 0600), 0);
    assert_int_equal(chmod(folder->path, 0755), 0);
    child = fork();
    if (child == 0)
        _exit(open_with_a_capability(folder->file));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    check_file(folder->file, "precious\n");
}

/* A file that the caller cannot write is not opened, whoever owns the folder. */
static void files_of_root_are_refused(void **state)
{
    struct folder *folder = *state;
    struct output output;
    const char *reason;

    only_root();
    assert_int_equal(chown(folder->path, CALLER, GROUP), 0);
    write_file(folder->file, "precious\n");
    for (mode_t mode = 0600; mode <= 0644; mode += 044) {
        assert_int_equal(chmod(folder->file, mode), 0);
        reason = output_open(&output, folder->file, &stranger, -1);
        assert_non_null(reason);
        check_string("reason", reason, "Permission denied for the user who called");
        output_close(&output);
    }
    assert_int_equal(chmod(folder->file, 0602), 0);
    assert_null(output_open(&output, folder->file, &stranger, -1));
    output_close(&output);
    assert_int_equal(chmod(folder->path, 0700), 0);
    assert_int_equal(chown(folder->path, STRANGER, STRANGER), 0);
    assert_non_null(output_open(&output, folder->file, &stranger, -1));
    output_close(&output);
    check_file(folder->file, "precious\n");
}

/* An existing file keeps its owner. */
static void old_file_keeps_its_owner(void **state)
{
    struct folder *folder = *state;
    struct output output;
    struct stat stat;

    write_file(folder->file, "");
    assert_null(output_open(&output, folder->file, self(), -1));
    assert_int_equal(output_begin(&output), 0);
    assert_int_equal(fstat(output.fd, &stat), 0);
    assert_int_equal(stat.st_uid, geteuid());
    assert_int_equal(stat.st_mode & 0777, 0644);
    output_close(&output);
}

static void begin_changes_files_only(void **state)
{
    struct output output;

    (void)state;
    assert_null(output_open(&output, "/dev/null", self(), -1));
    assert_int_equal(output_begin(&output), 0);
    output_close(&output);
    assert_null(output_open(&output, NULL, self(), -1));
    assert_int_equal(output_begin(&output), 0);
    output_close(&output);
}

static void names_without_a_folder(void **state)
{
    struct folder *folder = *state;
    char before[4096];
    struct output output;

    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(folder->path), 0);
    assert_null(output_open(&output, "file", self(), -1));
    assert_int_equal(chdir(before), 0);
    write_line(&output, "here");
    assert_int_equal(output_flush(&output), 0);
    output_close(&output);
    check_file(folder->file, "here\n");
}

/* A trusted link is followed, and its target is written. */
static void own_links_are_followed(void **state)
{
    struct folder *folder = *state;
    char link[128];
    struct output output;

    snprintf(link, sizeof(link), "%s.link", folder->path);
    write_file(folder->file, "old\n");
    assert_int_equal(symlink(folder->file, link), 0);
    assert_null(output_open(&output, link, self(), -1)); /* /tmp is sticky; the link is ours */
    unlink(link);
    assert_int_equal(output_begin(&output), 0);
    write_line(&output, "new");
    assert_int_equal(output_flush(&output), 0);
    output_close(&output);
    check_file(folder->file, "new\n");
}

#define PLANTED "it belongs to another user, in a folder where every user can create files"

/* Checks whether the link of another user in a folder is followed, and its target emptied. */
static void check_link(const struct folder *folder, mode_t mode, uid_t folder_owner,
                       uid_t link_owner, bool is_followed)
{
    char other[128], link[160];
    struct output output;
    const char *reason;

    only_root();
    unlink(folder->file);
    write_file(folder->file, "precious\n");
    snprintf(other, sizeof(other), "%s.other", folder->path);
    snprintf(link, sizeof(link), "%s/link", other);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(chmod(other, mode), 0);
    assert_int_equal(chown(other, folder_owner, folder_owner), 0);
    assert_int_equal(symlink(folder->file, link), 0);
    assert_int_equal(lchown(link, link_owner, link_owner), 0);
    reason = output_open(&output, link, self(), -1);
    unlink(link);
    rmdir(other);
    if (is_followed) {
        assert_null(reason);
        assert_int_equal(output_begin(&output), 0);
        output_close(&output);
        check_file(folder->file, "");
        return;
    }
    check_string("reason", reason, PLANTED);
    output_close(&output);
    check_file(folder->file, "precious\n");
}

/* An attack: h2olog is root, and everybody can write to /tmp. */
static void others_links_are_refused(void **state)
{
    check_link(*state, 01777, 0, 12345, false);
    check_link(*state, 01777, 34567, 12345, false);
}

static void trusted_links_are_followed(void **state)
{
    check_link(*state, 01777, 0, 0, true);
    check_link(*state, 01777, 12345, 12345,
               true); /* the owner of the folder may replace the file anyway */
    check_link(*state, 0755, 0, 12345, true); /* not everybody can write to the folder */
    check_link(*state, 0755, 12345, 12345, true);
}

#define NOBODY 65534

/* Checks whether a file that everybody can write, in a folder like /tmp, is used. */
static void check_file_of(const struct folder *folder, mode_t mode, uid_t owner, bool is_opened)
{
    char other[128], file[160];
    struct output output;
    const char *reason;

    only_root();
    snprintf(other, sizeof(other), "%s.other", folder->path);
    snprintf(file, sizeof(file), "%s/file", other);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(chmod(other, mode), 0);
    assert_int_equal(chown(other, 34567, 34567), 0);
    write_file(file, "precious\n");
    assert_int_equal(chmod(file, 0666), 0);
    assert_int_equal(chown(file, owner, owner), 0);
    reason = output_open(&output, file, &stranger, -1);
    if (reason == NULL)
        assert_int_equal(output_begin(&output), 0);
    output_close(&output);
    check_file(file, is_opened ? "" : "precious\n");
    unlink(file);
    rmdir(other);
    if (is_opened)
        assert_null(reason);
    else
        check_string("reason", reason, PLANTED);
}

/* The owner of the file could read the cookies in the output. */
static void others_files_are_refused(void **state)
{
    check_file_of(*state, 01777, 12345, false);
    check_file_of(*state, 01777, NOBODY, false);
    check_file_of(*state, 01777, 0, false);
}

static void trusted_files_are_opened(void **state)
{
    check_file_of(*state, 01777, CALLER, true);
    check_file_of(*state, 01777, 34567,
                  true); /* the owner of the folder may replace the file anyway */
    check_file_of(*state, 0755, 12345, true);
}

/*
 * What another process does meanwhile: after `unlink_after` calls of openat(2) for the name of
 * `entry`, it unlinks it. Before call `plant_before`, it puts a link to `target` there.
 */
static struct {
    const char *entry, *target;
    int calls, unlink_after, plant_before;
} race;

/* The linker replaces the openat that output.c calls by __wrap_openat (--wrap). */
int __real_openat(int folder, const char *name, int flags, mode_t mode);
int __wrap_openat(int folder, const char *name, int flags, mode_t mode);

int __wrap_openat(int folder, const char *name, int flags, mode_t mode)
{
    const bool is_raced = race.entry != NULL && strcmp(name, strrchr(race.entry, '/') + 1) == 0;
    int fd, code;

    if (is_raced && ++race.calls == race.plant_before) {
        assert_int_equal(symlink(race.target, race.entry), 0);
        assert_int_equal(lchown(race.entry, STRANGER, STRANGER), 0);
    }
    fd = __real_openat(folder, name, flags, mode);
    code = errno;
    if (is_raced && race.calls == race.unlink_after)
        assert_int_equal(unlink(race.entry), 0);
    errno = code;
    return fd;
}

/* Opens `owner`'s file in a folder like /tmp while another process replaces it. */
static void check_race(const struct folder *folder, uid_t owner, int unlink_after, int plant_before,
                       bool is_opened)
{
    char other[128], entry[160];
    struct output output;
    const char *reason;

    only_root();
    write_file(folder->file, "precious\n");
    snprintf(other, sizeof(other), "%s.other", folder->path);
    snprintf(entry, sizeof(entry), "%s/entry", other);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(chmod(other, 01777), 0);
    write_file(entry, "old\n");
    assert_int_equal(chown(entry, owner, owner), 0);
    race.calls = 0;
    race.unlink_after = unlink_after;
    race.plant_before = plant_before;
    race.target = folder->file;
    race.entry = entry;
    reason = output_open(&output, entry, self(), -1);
    race.entry = NULL;
    if (reason == NULL)
        assert_int_equal(output_begin(&output), 0);
    output_close(&output);
    unlink(entry);
    rmdir(other);
    assert_true(race.calls >= unlink_after);
    check_file(folder->file, "precious\n");
    if (is_opened)
        assert_null(reason);
    else
        check_string("reason", reason, PLANTED);
}

/* The file that was checked is the file that is opened, even if its name is replaced meanwhile. */
static void replaced_files_are_not_opened(void **state)
{
    check_race(*state, STRANGER, 1, 2, false); /* replaced by a link */
    check_race(*state, STRANGER, 1, 3, false); /* missing at the second try, then a link */
    check_race(*state, geteuid(), 2, 3, true); /* the caller's file, after the check */
}

/* Every link of a chain is checked. */
static void links_to_planted_links_are_refused(void **state)
{
    struct folder *folder = *state;
    char other[128], link[160], planted[160];
    struct output output;

    only_root();
    write_file(folder->file, "precious\n");
    snprintf(other, sizeof(other), "%s.other", folder->path);
    snprintf(link, sizeof(link), "%s/link", other);
    snprintf(planted, sizeof(planted), "%s/planted", other);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(chmod(other, 01777), 0);
    for (int i = 0; i != 2; ++i) { /* the second planted link is root's */
        assert_int_equal(symlink("planted", link), 0);
        assert_int_equal(symlink(folder->file, planted), 0);
        assert_int_equal(lchown(planted, i == 0 ? STRANGER : 0, 0), 0);
        if (i == 0)
            check_string("reason", output_open(&output, link, self(), -1), PLANTED);
        else
            assert_null(output_open(&output, link, self(), -1));
        output_close(&output);
        check_file(folder->file, "precious\n");
        assert_int_equal(unlink(planted), 0);
        assert_int_equal(unlink(link), 0);
    }
    assert_int_equal(symlink("link", link), 0);
    check_string("reason", output_open(&output, link, self(), -1), strerror(ELOOP));
    output_close(&output);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(rmdir(other), 0);
    check_file(folder->file, "precious\n");
}

/* If nothing was traced, its new file is removed, but not another file with the same name. */
static void only_its_own_file_is_removed(void **state)
{
    struct folder *folder = *state;
    struct output output;

    assert_null(output_open(&output, folder->file, self(), -1));
    output_close(&output);
    assert_int_equal(access(folder->file, F_OK), -1);
    assert_null(output_open(&output, folder->file, self(), -1));
    assert_int_equal(unlink(folder->file), 0);
    write_file(folder->file, "another's\n");
    output_close(&output);
    check_file(folder->file, "another's\n");
}

/* Appending, so that logrotate's copytruncate works and no lines are overwritten. */
static void file_is_appended_to(void **state)
{
    struct folder *folder = *state;
    struct output output;
    int fd;

    assert_null(output_open(&output, folder->file, self(), -1));
    assert_true((fcntl(output.fd, F_GETFL) & O_APPEND) != 0);
    assert_true((fcntl(output.fd, F_GETFD) & FD_CLOEXEC) != 0);
    write_line(&output, "ours");
    assert_int_equal(output_flush(&output), 0);
    fd = open(folder->file, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "theirs\n", 7), 7);
    close(fd);
    write_line(&output, "ours again");
    assert_int_equal(output_flush(&output), 0);
    check_file(folder->file, "ours\ntheirs\nours again\n");
    assert_int_equal(truncate(folder->file, 0), 0);
    write_line(&output, "after");
    assert_int_equal(output_flush(&output), 0);
    check_file(folder->file, "after\n");
    output_close(&output);
}

static void file_cannot_be_opened(void **state)
{
    struct folder *folder = *state;
    struct output output;

    check_string("reason", output_open(&output, "/nonexistent/file", self(), -1),
                 "No such file or directory");
    output_close(&output);
    check_string("reason", output_open(&output, folder->path, self(), -1), "Is a directory");
    output_close(&output);
}

static void standard_output(void **state)
{
    struct stat opened, standard;
    struct output output;

    (void)state;
    assert_null(output_open(&output, NULL, self(), -1));
    assert_int_equal(fstat(output.fd, &opened), 0);
    assert_int_equal(fstat(STDOUT_FILENO, &standard), 0);
    assert_int_equal(opened.st_ino, standard.st_ino);
    assert_int_equal(opened.st_dev, standard.st_dev);
    assert_null(output.name);
    output_close(&output);
    /* not closed, because it is not ours */
    assert_true(fcntl(STDOUT_FILENO, F_GETFD) >= 0);
}

static void counts_what_a_full_disk_loses(void **state)
{
    struct output output;

    (void)state;
    assert_null(output_open(&output, "/dev/full", self(), -1));
    write_line(&output, "one");
    write_line(&output, "two");
    output_string(&output, "three");
    assert_int_equal(output.dropped, 0);
    assert_int_equal(output_flush(&output), -1);
    assert_int_equal(output.error, ENOSPC);
    assert_int_equal(output.dropped, 2);
    output_end_line(&output);
    assert_int_equal(output_flush(&output), -1);
    assert_int_equal(output.error, ENOSPC);
    assert_int_equal(output.lines, 3);
    assert_int_equal(output.dropped, 3);
    for (size_t i = 0; i != 100000; ++i) /* also when the buffer is full */
        write_line(&output, "0123456789");
    assert_int_equal(output_flush(&output), -1);
    assert_int_equal(output.lines, 100003);
    assert_int_equal(output.dropped, 100003);
    output_close(&output);
}

/*
 * A part of a batch can be written before a write fails. A partly written line counts as lost.
 */
static void counts_what_is_written_in_part(void **state)
{
    struct folder *folder = *state;
    struct rlimit before, small;
    struct output output;

    assert_null(output_open(&output, folder->file, self(), -1));
    for (size_t i = 0; i != 10; ++i)
        write_line(&output, "123456789");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 35;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(output_flush(&output), -1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(output.error, EFBIG);
    assert_int_equal(output.lines, 10);
    assert_int_equal(output.dropped, 7);
    check_file(folder->file, "123456789\n123456789\n123456789\n12345");
    output_close(&output);
}

/* Opens an output that writes to a descriptor. */
static void open_on(struct output *output, int fd)
{
    char name[32];

    snprintf(name, sizeof(name), "/dev/fd/%d", fd);
    assert_null(output_open(output, name, self(), -1));
}

static void reader_is_gone(void **state)
{
    struct output output;
    int ends[2];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    open_on(&output, ends[1]);
    write_line(&output, "one");
    assert_int_equal(output_flush(&output), 0);
    close(ends[0]);
    write_line(&output, "two");
    assert_int_equal(output_flush(&output), -1);
    assert_int_equal(output.error, EPIPE);
    assert_int_equal(output.dropped, 1);
    output_close(&output);
    close(ends[1]);
}

/* Without data, the error is that of a write. */
static void hang_up_is_the_error_of_a_write(void **state)
{
    struct output output;
    int ends[2];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    open_on(&output, ends[1]);
    close(ends[0]);
    output_hung_up(&output);
    assert_int_equal(output.error, EPIPE);
    output_close(&output);
    close(ends[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    open_on(&output, ends[1]);
    close(ends[0]);
    output_hung_up(&output);
    assert_int_equal(output.error, EPIPE);
    output_close(&output);
    close(ends[1]);
    assert_true((ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) >= 0);
    assert_int_equal(grantpt(ends[0]) | unlockpt(ends[0]), 0);
    assert_true((ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY | O_CLOEXEC)) >= 0);
    open_on(&output, ends[1]);
    close(ends[0]);
    output_hung_up(&output);
    assert_int_equal(output.error, EIO);
    output_close(&output);
    close(ends[1]);
}

/* These names mean the descriptor, which may be a socket. Its file is not emptied. */
static void names_of_descriptors(void **state)
{
    static const char *const forms[] = {"/dev/fd/%d", "/proc/self/fd/%d"};
    struct folder *folder = *state;
    struct output output;
    char name[32], got[8];
    int ends[2], fd;

    for (size_t i = 0; i != sizeof(forms) / sizeof(forms[0]); ++i) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        snprintf(name, sizeof(name), forms[i], ends[1]);
        assert_null(output_open(&output, name, self(), -1));
        assert_int_equal(output_begin(&output), 0);
        write_line(&output, "line");
        assert_int_equal(output_flush(&output), 0);
        assert_int_equal(recv(ends[0], got, sizeof(got), MSG_DONTWAIT), 5);
        assert_memory_equal(got, "line\n", 5);
        assert_int_equal(output_close(&output), 0);
        assert_true(fcntl(ends[1], F_GETFD) >= 0); /* still open: it is not ours */
        close(ends[0]);
        close(ends[1]);
    }
    write_file(folder->file, "before\n");
    assert_true((fd = open(folder->file, O_WRONLY | O_APPEND | O_CLOEXEC)) >= 0);
    open_on(&output, fd);
    assert_int_equal(output_begin(&output), 0);
    write_line(&output, "line");
    assert_int_equal(output_flush(&output), 0);
    output_close(&output);
    close(fd);
    check_file(folder->file, "before\nline\n");
}

/* h2olog does not write to a read-only descriptor of the caller. */
static void descriptors_that_cannot_be_written(void **state)
{
    static const char closed[] = "it is closed, or not open for writing";
    struct folder *folder = *state;
    struct output output;
    char name[32];
    int fd;

    write_file(folder->file, "precious\n");
    assert_true((fd = open(folder->file, O_RDONLY | O_CLOEXEC)) >= 0);
    snprintf(name, sizeof(name), "/dev/fd/%d", fd);
    check_string(name, output_open(&output, name, self(), -1), closed);
    output_close(&output);
    close(fd);
    check_string(name, output_open(&output, name, self(), -1), closed);
    output_close(&output);
    assert_true((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0); /* a file that is reopened */
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    check_string(name, output_open(&output, name, self(), -1), closed);
    output_close(&output);
    close(fd);
    assert_non_null(output_open(&output, "/dev/fd/99999999999999999999", self(), -1));
    output_close(&output);
    check_file(folder->file, "precious\n");
}

/* The result of the next close(2) of this descriptor. */
static int failing_fd = -1;

int close(int fd)
{
    const bool fails = fd == failing_fd;
    int result = (int)syscall(SYS_close, fd);

    failing_fd = fails ? -1 : failing_fd;
    errno = fails ? EDQUOT : errno;
    return fails ? -1 : result;
}

static void close_reports_errors(void **state)
{
    struct folder *folder = *state;
    struct output output;

    assert_null(output_open(&output, folder->file, self(), -1));
    write_line(&output, "one");
    assert_int_equal(output_flush(&output), 0);
    failing_fd = output.fd;
    assert_int_equal(output_close(&output), -1);
    assert_int_equal(errno, EDQUOT);
    assert_int_equal(failing_fd, -1);
}

/* The result of poll(2), if not 0. */
static int poll_error;

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    const struct timespec wait = {timeout / 1000, timeout % 1000 * 1000000L};

    if (poll_error != 0) {
        errno = poll_error;
        return -1;
    }
    return ppoll(fds, count, timeout < 0 ? NULL : &wait, NULL);
}

/* This is not a slow reader, and as much as possible is written. */
static void failed_poll_is_reported(void **state)
{
    static char page[4096];
    struct output output;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    open_on(&output, ends[1]);
    poll_error = ENOMEM;
    write_line(&output, "one");
    assert_int_equal(output_flush(&output), 0);
    while (write(output.fd, page, sizeof(page)) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
    write_line(&output, "two");
    assert_int_equal(output_flush(&output), -1);
    poll_error = 0;
    assert_int_equal(output.error, ENOMEM);
    assert_int_equal(output.dropped, 1);
    output_close(&output);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(bytes_and_hex),
        cmocka_unit_test_setup_teardown(flushes_complete_lines, folder_open, folder_close),
        cmocka_unit_test(drops_an_incomplete_line),
        cmocka_unit_test_setup_teardown(writes_batches, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(long_lines_are_whole, folder_open, folder_close),
        cmocka_unit_test(endless_line_is_whole),
        cmocka_unit_test_setup_teardown(file_is_emptied, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(new_file_belongs_to_the_caller, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(identity_is_restored, folder_open, folder_close),
        cmocka_unit_test(enters_as_the_caller),
        cmocka_unit_test_setup_teardown(capabilities_do_not_open_files, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(files_of_root_are_refused, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(old_file_keeps_its_owner, folder_open, folder_close),
        cmocka_unit_test(begin_changes_files_only),
        cmocka_unit_test_setup_teardown(names_without_a_folder, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(own_links_are_followed, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(others_links_are_refused, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(trusted_links_are_followed, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(others_files_are_refused, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(trusted_files_are_opened, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(replaced_files_are_not_opened, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(links_to_planted_links_are_refused, folder_open,
                                        folder_close),
        cmocka_unit_test_setup_teardown(only_its_own_file_is_removed, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(file_is_appended_to, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(file_cannot_be_opened, folder_open, folder_close),
        cmocka_unit_test(standard_output),
        cmocka_unit_test(counts_what_a_full_disk_loses),
        cmocka_unit_test_setup_teardown(counts_what_is_written_in_part, folder_open, folder_close),
        cmocka_unit_test(reader_is_gone),
        cmocka_unit_test(hang_up_is_the_error_of_a_write),
        cmocka_unit_test_setup_teardown(names_of_descriptors, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(descriptors_that_cannot_be_written, folder_open,
                                        folder_close),
        cmocka_unit_test_setup_teardown(close_reports_errors, folder_open, folder_close),
        cmocka_unit_test(failed_poll_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
