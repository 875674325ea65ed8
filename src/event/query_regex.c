#define PCRE2_CODE_UNIT_WIDTH 8

#include <pcre2.h>
#include <stdlib.h>
#include <time.h>

#include "memory.h"
#include "query_tree.h"

/*
 * What a match may cost. PCRE2's own limit counts steps for each place where a match may begin, and
 * a step can look at all of the subject, so a value of 4 kB can cost seconds within that limit. The
 * pattern is therefore compiled with a callout before each item, and the callout looks at the time.
 */
#define MATCH_LIMIT 100000
#define DEPTH_LIMIT 20000
#define HEAP_LIMIT  8192    /* KiB */
#define TIME_LIMIT  3000000 /* nanoseconds of this thread */

/* The time is read after so many callouts: reading it costs as much as 20 of them. */
#define CALLOUTS_PER_LOOK 128

/* Without JIT: after root is given up, no memory can be made executable. */
struct query_regex {
    pcre2_code *code;
    pcre2_match_context *context;
    pcre2_match_data *data;
    unsigned callouts; /* since the match began */
    uint64_t begin_ns; /* at the first look */
};

static uint64_t thread_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Ends a match that takes too long. */
static int look_at_time(pcre2_callout_block *block, void *state)
{
    struct query_regex *regex = state;
    uint64_t now_ns;

    (void)block;
    if (++regex->callouts % CALLOUTS_PER_LOOK != 0)
        return 0;
    now_ns = thread_ns();
    if (regex->callouts == CALLOUTS_PER_LOOK)
        regex->begin_ns = now_ns;
    return now_ns - regex->begin_ns > TIME_LIMIT ? PCRE2_ERROR_CALLOUT : 0;
}

static pcre2_code *compile(const char *pattern, size_t size, char *text, size_t text_size,
                           size_t *place)
{
    /* values are bytes of strangers, and need not be UTF-8 */
    const uint32_t options = PCRE2_AUTO_CALLOUT | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP;
    int reason;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, size, options, &reason, place, NULL);

    if (code == NULL)
        pcre2_get_error_message(reason, (PCRE2_UCHAR *)text, text_size);
    return code;
}

struct query_regex *query_regex_open(const char *pattern, size_t size, char *text, size_t text_size,
                                     size_t *place)
{
    pcre2_code *code = compile(pattern, size, text, text_size, place);
    struct query_regex *regex;

    if (code == NULL)
        return NULL;
    regex = memory_grow(NULL, 1, sizeof(*regex));
    *regex = (struct query_regex){.code = code,
                                  .context = pcre2_match_context_create(NULL),
                                  .data = pcre2_match_data_create(1, NULL)};
    if (regex->context == NULL || regex->data == NULL) {
        query_regex_close(regex);
        pcre2_get_error_message(PCRE2_ERROR_NOMEMORY, (PCRE2_UCHAR *)text, text_size);
        return NULL;
    }
    pcre2_set_match_limit(regex->context, MATCH_LIMIT);
    pcre2_set_depth_limit(regex->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(regex->context, HEAP_LIMIT);
    pcre2_set_callout(regex->context, look_at_time, regex);
    return regex;
}

void query_regex_close(struct query_regex *regex)
{
    if (regex == NULL)
        return;
    pcre2_match_data_free(regex->data);
    pcre2_match_context_free(regex->context);
    pcre2_code_free(regex->code);
    free(regex);
}

enum query_outcome query_regex_match(struct query_regex *regex, const uint8_t *bytes, size_t size)
{
    int result;

    regex->callouts = 0;
    result = pcre2_match(regex->code, bytes, size, 0, 0, regex->data, regex->context);
    if (result >= 0)
        return OUTCOME_HOLDS;
    return result == PCRE2_ERROR_NOMATCH ? OUTCOME_FAILS : OUTCOME_GAVE_UP;
}
