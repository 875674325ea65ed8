#define PCRE2_CODE_UNIT_WIDTH 8

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "event.h"
#include "memory.h"
#include "query_tree.h"

/*
 * What a match may cost. PCRE2's own limit counts steps for each place where a match may begin, and
 * a step can look at all of the subject, so a value of 4 kB can cost seconds within that limit. The
 * pattern is therefore compiled with a callout before each item, and the callout looks at the time.
 */
#define MATCH_LIMIT 50000
#define DEPTH_LIMIT 20000
#define HEAP_LIMIT  4096    /* KiB */
#define TIME_LIMIT  3000000 /* nanoseconds of this thread */

/*
 * What slow matches may cost in a second, together: a hostile client can send many values that are
 * slow. Above it, no value matches until the second is over.
 */
#define BUDGET_NS 200000000
#define SECOND_NS 1000000000

/* Values of at most this size need little memory. */
#define SMALL_SIZE 512

/* The time is read after so many callouts: reading it costs as much as 20 of them. */
#define CALLOUTS_PER_LOOK 128

/* Without JIT: after root is given up, no memory can be made executable. */
struct query_matcher {
    pcre2_match_context *context;
    pcre2_match_data *data; /* and the memory that a match needs */
    bool is_ready;          /* for large values: that memory was used before */
    unsigned callouts;      /* since the match began */
    uint64_t begin_ns;      /* at the first look */
    uint64_t second_ns;     /* CLOCK_MONOTONIC: when the present second of the budget began */
    uint64_t spent_ns;      /* on slow matches in this second */
};

struct query_regex {
    pcre2_code *code;
};

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Ends a match that takes too long. */
static int look_at_time(pcre2_callout_block *block, void *state)
{
    struct query_matcher *matcher = state;
    uint64_t now_ns;

    (void)block;
    if (++matcher->callouts % CALLOUTS_PER_LOOK != 0)
        return 0;
    now_ns = read_ns(CLOCK_THREAD_CPUTIME_ID);
    if (matcher->callouts == CALLOUTS_PER_LOOK)
        matcher->begin_ns = now_ns;
    return now_ns - matcher->begin_ns > TIME_LIMIT ? PCRE2_ERROR_CALLOUT : 0;
}

struct query_matcher *query_matcher_open(void)
{
    struct query_matcher *matcher = memory_grow(NULL, 1, sizeof(*matcher));

    *matcher = (struct query_matcher){.context = pcre2_match_context_create(NULL),
                                      .data = pcre2_match_data_create(1, NULL)};
    if (matcher->context == NULL || matcher->data == NULL) {
        query_matcher_close(matcher);
        return NULL;
    }
    pcre2_set_match_limit(matcher->context, MATCH_LIMIT);
    pcre2_set_depth_limit(matcher->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(matcher->context, HEAP_LIMIT);
    pcre2_set_callout(matcher->context, look_at_time, matcher);
    return matcher;
}

void query_matcher_close(struct query_matcher *matcher)
{
    if (matcher == NULL)
        return;
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    free(matcher);
}

struct query_regex *query_regex_open(const char *pattern, size_t size, char *text, size_t text_size,
                                     size_t *place)
{
    /* values are bytes of strangers, and need not be UTF-8 */
    const uint32_t options = PCRE2_AUTO_CALLOUT | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP;
    int reason;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, size, options, &reason, place, NULL);
    struct query_regex *regex;

    if (code == NULL) {
        pcre2_get_error_message(reason, (PCRE2_UCHAR *)text, text_size);
        return NULL;
    }
    regex = memory_grow(NULL, 1, sizeof(*regex));
    *regex = (struct query_regex){code};
    return regex;
}

void query_regex_close(struct query_regex *regex)
{
    if (regex == NULL)
        return;
    pcre2_code_free(regex->code);
    free(regex);
}

/*
 * Matches a value of the largest size that needs much memory. The first use of that memory takes
 * up to 10 ms, which must not count as time of the first match that needs it.
 */
static void touch_memory(struct query_matcher *matcher)
{
    static const char pattern[] = "^(?:a|b)*$";
    char reason[1];
    size_t place;
    struct query_regex *regex =
        query_regex_open(pattern, strlen(pattern), reason, sizeof(reason), &place);
    uint8_t value[EVENT_TEXT_MAX];

    matcher->is_ready = true;
    if (regex == NULL)
        return;
    memset(value, 'a', sizeof(value));
    pcre2_set_callout(matcher->context, NULL, NULL);
    pcre2_match(regex->code, value, sizeof(value), 0, 0, matcher->data, matcher->context);
    pcre2_set_callout(matcher->context, look_at_time, matcher);
    query_regex_close(regex);
}

/* Whether the budget of this second is used up. */
static bool is_over_budget(struct query_matcher *matcher)
{
    if (matcher->spent_ns < BUDGET_NS)
        return false;
    if (read_ns(CLOCK_MONOTONIC) - matcher->second_ns < SECOND_NS)
        return true;
    matcher->spent_ns = 0;
    return false;
}

/* Adds the time of a match, if it was slow enough to look at the clock. */
static void spend(struct query_matcher *matcher)
{
    uint64_t now_ns;

    if (matcher->callouts < CALLOUTS_PER_LOOK)
        return;
    now_ns = read_ns(CLOCK_MONOTONIC);
    if (now_ns - matcher->second_ns >= SECOND_NS) {
        matcher->second_ns = now_ns;
        matcher->spent_ns = 0;
    }
    matcher->spent_ns += read_ns(CLOCK_THREAD_CPUTIME_ID) - matcher->begin_ns;
}

enum query_outcome query_regex_match(struct query_matcher *matcher, const struct query_regex *regex,
                                     const uint8_t *bytes, size_t size)
{
    int result;

    if (size > SMALL_SIZE && !matcher->is_ready)
        touch_memory(matcher);
    if (is_over_budget(matcher))
        return OUTCOME_GAVE_UP;
    matcher->callouts = 0;
    result = pcre2_match(regex->code, bytes, size, 0, 0, matcher->data, matcher->context);
    spend(matcher);
    if (result >= 0)
        return OUTCOME_HOLDS;
    return result == PCRE2_ERROR_NOMATCH ? OUTCOME_FAILS : OUTCOME_GAVE_UP;
}
