#include "view.h"

#include "support.h"

#include <string.h>

static void test_default(void **state)
{
    (void)state;
    assert_ptr_equal(view_find(NULL), &views[0]);
    check_string("default", view_find(NULL)->name, "http");
}

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i != num_views; ++i)
        assert_ptr_equal(view_find(views[i].name), &views[i]);
    assert_null(view_find("httpd"));
    assert_null(view_find(""));
}

/* Each row is complete. */
static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i != num_views; ++i) {
        assert_true(strlen(views[i].help) > 10);
        assert_non_null(views[i].probes[0]);
        assert_non_null(views[i].sink);
        assert_non_null(views[i].add_needs);
        assert_true((views[i].features & VIEW_ANY) != 0);
        assert_int_equal(views[i].json_sink != NULL, views[i].json_add_needs != NULL);
        for (size_t j = 0; j != i; ++j)
            assert_string_not_equal(views[i].name, views[j].name);
    }
}

static void test_traces(void **state)
{
    const struct view *http = view_find("http"), *quic = view_find("quic"), *all = view_find("all");

    (void)state;
    assert_true(view_traces(http, "h2o", "receive_request"));
    assert_true(view_traces(http, "h2o", "send_response_status"));
    assert_false(view_traces(http, "h2o", "h3s_accept"));
    assert_false(view_traces(http, "quicly", "receive_request"));
    assert_true(view_traces(quic, "quicly", "packet_sent"));
    assert_false(view_traces(quic, "quicly", "debug_message"));
    assert_false(view_traces(quic, "picotls", "client_random"));
    assert_true(view_traces(all, "quicly", "debug_message"));
    assert_true(view_traces(all, "picotls", "client_random"));
    assert_false(view_traces(all, "nginx", "accept"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_traces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
