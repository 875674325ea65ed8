#include "support.h"

#include "event/needs.h"

/* Names are in lower case, in the order in which they were added, each once. */
static void names_are_added_once(void **state)
{
    struct needs needs = {0};

    (void)state;
    needs_add(&needs.request, "User-Agent");
    needs_add(&needs.request, "user-agent");
    needs_add(&needs.request, ":path");
    needs_add(&needs.request, "USER-AGENT");
    needs_add(&needs.request, "x-\xc3\x84[@`{");
    needs_add(&needs.response, "Z");
    assert_int_equal(needs.request.count, 3);
    check_string("first", needs.request.names[0], "user-agent");
    check_string("second", needs.request.names[1], ":path");
    check_string("third", needs.request.names[2], "x-\xc3\x84[@`{");
    assert_int_equal(needs.response.count, 1);
    check_string("response", needs.response.names[0], "z");
    needs_dispose(&needs);
    assert_null(needs.request.names);
    assert_int_equal(needs.request.count, 0);
    needs_dispose(&needs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_added_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
