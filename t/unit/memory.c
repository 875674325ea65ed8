#include "memory.h"

#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_grows_and_keeps(void **state)
{
    uint32_t *array = NULL;

    (void)state;
    for (uint32_t i = 0; i != 1000; ++i) {
        array = memory_grow(array, i + 1, sizeof(array[0]));
        array[i] = i;
    }
    for (uint32_t i = 0; i != 1000; ++i)
        assert_int_equal(array[i], i);
    free(array);
}

/* An array without elements is not NULL. */
static void test_no_elements(void **state)
{
    void *empty = memory_grow(NULL, 0, 8);

    (void)state;
    assert_non_null(empty);
    free(empty);
}

static void test_format(void **state)
{
    char *text = memory_format("%s:%d", "quicly", 42);

    (void)state;
    check_string("text", text, "quicly:42");
    free(text);
}

/*
 * Runs memory_grow in a child, with a limit to its memory. Returns its exit status; `said` is its
 * stderr.
 */
static int grow_in_child(size_t count, size_t size, char *said, size_t said_size)
{
    int pipes[2], status;
    pid_t child;
    ssize_t got;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipes[1], STDERR_FILENO);
        free(memory_grow(NULL, count, size));
        _exit(0);
    }
    close(pipes[1]);
    got = read(pipes[0], said, said_size - 1);
    said[got > 0 ? got : 0] = '\0';
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* count * size overflows to a small number, which must not make a small array. */
static void test_overflow(void **state)
{
    char said[256];

    (void)state;
    assert_int_equal(grow_in_child(SIZE_MAX / 8 + 2, 8, said, sizeof(said)), 1);
    assert_non_null(strstr(said, "h2olog: "));
    assert_int_equal(grow_in_child(16, 8, said, sizeof(said)), 0);
    check_string("stderr", said, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_and_keeps),
        cmocka_unit_test(test_no_elements),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
