#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

/* A folder for files, made for each test and removed with what is in it. */
struct folder {
    char path[64], file[96];
};

static int folder_open(void **state)
{
    static struct folder folder;

    umask(022); /* the user's can be another */
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

/* Lines wait for output_flush, and a line in the making waits for its end. */
static void flushes_complete_lines(void **state)
{
    struct folder *folder = *state;
    struct output output;

    assert_int_equal(output_open(&output, folder->file, geteuid()), 0);
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

static void drops_a_line_in_the_making(void **state)
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
 * When there is no room for more, what is gathered is written: whole lines, all of them, in order.
 */
static void writes_batches(void **state)
{
    struct folder *folder = *state;
    const size_t count = 60000;
    struct output output;
    size_t size, before_flush;
    char *text, *at;

    assert_int_equal(output_open(&output, folder->file, geteuid()), 0);
    for (size_t i = 0; i != count; ++i) {
        output_string(&output, "line ");
        output_unsigned(&output, i);
        output_end_line(&output);
    }
    text = read_file(folder->file, &before_flush);
    assert_true(before_flush > 0); /* 0.6 MB is more than is ever gathered */
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

/* The longest lines there are, one behind the other, wherever the batch before them ends. */
static void long_lines_are_whole(void **state)
{
    const size_t pieces = 3;
    struct folder *folder = *state;
    struct output output;
    size_t size, at = 0;
    char *text;

    assert_int_equal(output_open(&output, folder->file, geteuid()), 0);
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

/*
 * A line that no printer makes, as no event is so large: it is cut, and nothing is written behind
 * the buffer.
 */
static void endless_line_is_cut(void **state)
{
    struct output output;
    char *text;

    (void)state;
    printed_open(&output);
    write_line(&output, "before");
    for (size_t i = 0; i != 1000; ++i)
        memset(output_reserve(&output, OUTPUT_RESERVE_MAX), 'x', OUTPUT_RESERVE_MAX),
            output_advance(&output, OUTPUT_RESERVE_MAX);
    output_end_line(&output);
    write_line(&output, "after");
    text = printed_take(&output);
    assert_true(strlen(text) < 1 << 20);
    assert_memory_equal(text, "before\nx", 8);
    check_string("the end", text + strlen(text) - 8, "x\nafter\n");
    free(text);
    printed_close(&output);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/*
 * What was in the file is gone once there is something to write, and not if it never comes to that.
 */
static void file_is_emptied(void **state)
{
    struct folder *folder = *state;
    struct output output;

    write_file(folder->file, "what was there\n");
    assert_int_equal(output_open(&output, folder->file, geteuid()), 0);
    assert_false(output.created);
    check_file(folder->file, "what was there\n");
    assert_int_equal(output_begin(&output, geteuid(), getegid()), 0);
    check_file(folder->file, "");
    write_line(&output, "new");
    assert_int_equal(output_flush(&output), 0);
    output_close(&output);
    check_file(folder->file, "new\n");
}

/* Who called it gets a file that is new; nobody else can read what strangers sent to the server. */
static void new_file_is_the_callers(void **state)
{
    const uid_t uid = geteuid() == 0 ? 12345 : geteuid();
    const gid_t gid = geteuid() == 0 ? 23456 : getegid();
    struct folder *folder = *state;
    struct output output;
    struct stat stat;

    assert_int_equal(output_open(&output, folder->file, geteuid()), 0);
    assert_true(output.created);
    assert_int_equal(output_begin(&output, uid, gid), 0);
    assert_int_equal(fstat(output.fd, &stat), 0);
    assert_int_equal(stat.st_uid, uid);
    assert_int_equal(stat.st_gid, gid);
    assert_int_equal(stat.st_mode & 077, 0);
    output_close(&output);
}

/* A file that was there stays whose it was. */
static void old_file_keeps_its_owner(void **state)
{
    struct folder *folder = *state;
    struct output output;
    struct stat stat;

    write_file(folder->file, "");
    assert_int_equal(output_open(&output, folder->file, geteuid()), 0);
    assert_int_equal(output_begin(&output, 12345, 23456), 0);
    assert_int_equal(fstat(output.fd, &stat), 0);
    assert_int_equal(stat.st_uid, geteuid());
    assert_int_equal(stat.st_mode & 0777, 0644);
    output_close(&output);
}

static void begins_what_is_no_file(void **state)
{
    struct output output;

    (void)state;
    assert_int_equal(output_open(&output, "/dev/null", geteuid()), 0);
    assert_int_equal(output_begin(&output, 12345, 23456), 0);
    output_close(&output);
    assert_int_equal(output_open(&output, NULL, geteuid()), 0);
    assert_int_equal(output_begin(&output, 12345, 23456), 0);
    output_close(&output);
}

static void names_without_a_folder(void **state)
{
    struct folder *folder = *state;
    char before[4096];
    struct output output;

    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(folder->path), 0);
    assert_int_equal(output_open(&output, "file", geteuid()), 0);
    assert_int_equal(chdir(before), 0);
    write_line(&output, "here");
    assert_int_equal(output_flush(&output), 0);
    output_close(&output);
    check_file(folder->file, "here\n");
}

/* A link is followed where it can be trusted, and its file is written, not the link. */
static void own_links_are_followed(void **state)
{
    struct folder *folder = *state;
    char link[128];
    struct output output;

    snprintf(link, sizeof(link), "%s.link", folder->path);
    write_file(folder->file, "old\n");
    assert_int_equal(symlink(folder->file, link), 0);
    assert_int_equal(output_open(&output, link, geteuid()),
                     0); /* /tmp is sticky; the link is ours */
    unlink(link);
    assert_int_equal(output_begin(&output, geteuid(), getegid()), 0);
    write_line(&output, "new");
    assert_int_equal(output_flush(&output), 0);
    output_close(&output);
    check_file(folder->file, "new\n");
}

/* A folder with a link of another user to a file: whether it is followed, and the file emptied. */
static void check_link(const struct folder *folder, mode_t mode, uid_t folder_owner,
                       uid_t link_owner, bool is_followed)
{
    char other[128], link[160];
    struct output output;
    int result, code;

    if (geteuid() != 0)
        skip(); /* only root can make another user's link */
    unlink(folder->file);
    write_file(folder->file, "precious\n");
    snprintf(other, sizeof(other), "%s.other", folder->path);
    snprintf(link, sizeof(link), "%s/link", other);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(chmod(other, mode), 0);
    assert_int_equal(chown(other, folder_owner, folder_owner), 0);
    assert_int_equal(symlink(folder->file, link), 0);
    assert_int_equal(lchown(link, link_owner, link_owner), 0);
    result = output_open(&output, link, geteuid());
    code = errno;
    unlink(link);
    rmdir(other);
    if (is_followed) {
        assert_int_equal(result, 0);
        assert_int_equal(output_begin(&output, 0, 0), 0);
        output_close(&output);
        check_file(folder->file, "");
        return;
    }
    assert_int_equal(result, -1);
    /* fs.protected_symlinks says EACCES, where it is on and looks first */
    assert_true(code == ELOOP || code == EACCES);
    check_file(folder->file, "precious\n");
}

/* A trap: h2olog is root's, and /tmp is everybody's. */
static void others_links_are_refused(void **state)
{
    check_link(*state, 01777, 0, 12345, false);
    check_link(*state, 01777, 34567, 12345, false);
}

static void trusted_links_are_followed(void **state)
{
    check_link(*state, 01777, 0, 0, true);
    check_link(*state, 01777, 12345, 12345, true); /* the folder's owner could do worse */
    check_link(*state, 0755, 0, 12345, true);      /* where not everybody can put one */
    check_link(*state, 0755, 12345, 12345, true);
}

#define CALLER 23456
#define NOBODY 65534

/* A file in a folder like /tmp, of a user: whether a caller's lines go there. */
static void check_file_of(const struct folder *folder, mode_t mode, uid_t owner, bool is_opened)
{
    char other[128], file[160];
    struct output output;
    int result, code;

    if (geteuid() != 0)
        skip(); /* only root can make another user's file */
    snprintf(other, sizeof(other), "%s.other", folder->path);
    snprintf(file, sizeof(file), "%s/file", other);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(chmod(other, mode), 0);
    assert_int_equal(chown(other, 34567, 34567), 0);
    write_file(file, "precious\n");
    assert_int_equal(chown(file, owner, owner), 0);
    result = output_open(&output, file, CALLER);
    code = errno;
    if (result == 0) {
        assert_int_equal(output_begin(&output, CALLER, CALLER), 0);
        output_close(&output);
    }
    check_file(file, is_opened ? "" : "precious\n");
    unlink(file);
    rmdir(other);
    assert_int_equal(result, is_opened ? 0 : -1);
    if (!is_opened)
        assert_int_equal(code, EPERM);
}

/* What is printed are other people's cookies: whoever planted the file could read them. */
static void others_files_are_refused(void **state)
{
    check_file_of(*state, 01777, 12345, false);
    check_file_of(*state, 01777, NOBODY, false);
}

static void trusted_files_are_opened(void **state)
{
    check_file_of(*state, 01777, 0, true);
    check_file_of(*state, 01777, CALLER, true);
    check_file_of(*state, 01777, 34567, true); /* the folder's owner could do worse */
    check_file_of(*state, 0755, 12345, true);
}

/* Another name of a file of the system leads there as a link does. */
static void hard_links_are_refused(void **state)
{
    struct folder *folder = *state;
    char other[128], file[160];
    struct output output;

    if (geteuid() != 0)
        skip(); /* who is not root may not make them (fs.protected_hardlinks) */
    snprintf(other, sizeof(other), "%s.other", folder->path);
    snprintf(file, sizeof(file), "%s/file", other);
    write_file(folder->file, "precious\n");
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(chmod(other, 01777), 0);
    assert_int_equal(link(folder->file, file), 0);
    assert_int_equal(output_open(&output, file, CALLER), -1);
    assert_int_equal(errno, EMLINK);
    assert_int_equal(chmod(other, 0755), 0);
    assert_int_equal(output_open(&output, file, CALLER), 0);
    output_close(&output);
    check_file(folder->file, "precious\n");
    unlink(file);
    rmdir(other);
}

/* The file of a run that came to nothing goes, and not what has its name by then. */
static void only_its_own_file_is_removed(void **state)
{
    struct folder *folder = *state;
    struct output output;

    assert_int_equal(output_open(&output, folder->file, geteuid()), 0);
    output_close(&output);
    assert_int_equal(access(folder->file, F_OK), -1);
    assert_int_equal(output_open(&output, folder->file, geteuid()), 0);
    assert_int_equal(unlink(folder->file), 0);
    write_file(folder->file, "another's\n");
    output_close(&output);
    check_file(folder->file, "another's\n");
}

/* So that logrotate's copytruncate works, and nobody's lines are written over. */
static void file_is_appended_to(void **state)
{
    struct folder *folder = *state;
    struct output output;
    int fd;

    assert_int_equal(output_open(&output, folder->file, geteuid()), 0);
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

    errno = 0;
    assert_int_equal(output_open(&output, "/nonexistent/file", geteuid()), -1);
    assert_int_equal(errno, ENOENT);
    errno = 0;
    assert_int_equal(output_open(&output, folder->path, geteuid()), -1);
    assert_int_equal(errno, EISDIR);
}

static void standard_output(void **state)
{
    struct stat opened, standard;
    struct output output;

    (void)state;
    assert_int_equal(output_open(&output, NULL, geteuid()), 0);
    assert_int_equal(fstat(output.fd, &opened), 0);
    assert_int_equal(fstat(STDOUT_FILENO, &standard), 0);
    assert_int_equal(opened.st_ino, standard.st_ino);
    assert_int_equal(opened.st_dev, standard.st_dev);
    assert_null(output.name);
    output_close(&output);
    /* it is not closed: it is not ours */
    assert_true(fcntl(STDOUT_FILENO, F_GETFD) >= 0);
}

static void counts_what_a_full_disk_loses(void **state)
{
    struct output output;

    (void)state;
    assert_int_equal(output_open(&output, "/dev/full", geteuid()), 0);
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
    for (size_t i = 0; i != 100000; ++i) /* also when there is no room for more */
        write_line(&output, "0123456789");
    assert_int_equal(output_flush(&output), -1);
    assert_int_equal(output.lines, 100003);
    assert_int_equal(output.dropped, 100003);
    output_close(&output);
}

/*
 * Of a batch, a part can be written before the write fails; a line that is written in part is lost.
 */
static void counts_what_is_written_in_part(void **state)
{
    struct folder *folder = *state;
    struct rlimit before, small;
    struct output output;

    assert_int_equal(output_open(&output, folder->file, geteuid()), 0);
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

static void reader_is_gone(void **state)
{
    struct output output;
    int ends[2];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(output_open(&output, NULL, geteuid()), 0);
    output.fd = ends[1];
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(bytes_and_hex),
        cmocka_unit_test_setup_teardown(flushes_complete_lines, folder_open, folder_close),
        cmocka_unit_test(drops_a_line_in_the_making),
        cmocka_unit_test_setup_teardown(writes_batches, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(long_lines_are_whole, folder_open, folder_close),
        cmocka_unit_test(endless_line_is_cut),
        cmocka_unit_test_setup_teardown(file_is_emptied, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(new_file_is_the_callers, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(old_file_keeps_its_owner, folder_open, folder_close),
        cmocka_unit_test(begins_what_is_no_file),
        cmocka_unit_test_setup_teardown(names_without_a_folder, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(own_links_are_followed, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(others_links_are_refused, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(trusted_links_are_followed, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(others_files_are_refused, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(trusted_files_are_opened, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(hard_links_are_refused, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(only_its_own_file_is_removed, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(file_is_appended_to, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(file_cannot_be_opened, folder_open, folder_close),
        cmocka_unit_test(standard_output),
        cmocka_unit_test(counts_what_a_full_disk_loses),
        cmocka_unit_test_setup_teardown(counts_what_is_written_in_part, folder_open, folder_close),
        cmocka_unit_test(reader_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
