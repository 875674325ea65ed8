#include "error.h"

#include "support.h"

#include <string.h>

static void test_set(void **state)
{
    struct error error = {0};

    (void)state;
    assert_int_equal(error_set(&error, ERROR_USAGE, "-%c takes %d", 'b', 3), -1);
    assert_int_equal(error.status, ERROR_USAGE);
    check_string("text", error.text, "-b takes 3");
}

/* Long text is truncated at a character: half of an 'é' must not get to a terminal. */
static void test_long_text(void **state)
{
    char text[2048];
    struct error error;

    (void)state;
    for (size_t i = 0; i != sizeof(text) - 1; i += 1)
        text[i] = i % 2 != 0 ? '\xa9' : '\xc3';
    text[sizeof(text) - 1] = '\0';
    error_set(&error, ERROR_FAILED, "%s", text);
    assert_true(strlen(error.text) >= sizeof(error.text) - 4);
    assert_true(is_utf8(error.text));
    error_set(&error, ERROR_FAILED, "x%s", text);
    assert_true(strlen(error.text) >= sizeof(error.text) - 4);
    assert_true(is_utf8(error.text));
}

static void test_interrupted(void **state)
{
    struct error error = {.status = ERROR_FAILED, .text = "an old sentence"};

    (void)state;
    assert_int_equal(error_interrupt(&error), -1);
    assert_int_equal(error.status, ERROR_INTERRUPTED);
    check_string("text", error.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_interrupted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
