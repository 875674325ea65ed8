#include "event/filter.h"

#include <inttypes.h>
#include <stdlib.h>

#include "memory.h"

struct filter {
    const struct sink_settings *settings;
    struct query *query;
    struct sink next;
    bool has_told; /* that a regular expression gave up */
};

/* Flushes the lines first, because both outputs can be the same terminal. */
static void tell(struct filter *filter)
{
    filter->has_told = true;
    output_flush(filter->settings->output);
    output_say(filter->settings->messages,
               "h2olog: a regular expression of -q takes too long for a value, which counts as no "
               "match; this is said once");
}

static int filter_record(void *state, const struct record *record)
{
    struct filter *filter = state;
    bool holds = true;

    if (record->is_printed)
        holds = query_holds_for_record(filter->query, record, filter->settings->clock);
    if (!filter->has_told && query_num_given_up(filter->query) != 0)
        tell(filter);
    return holds ? filter->next.record(filter->next.state, record) : 0;
}

static void filter_request(void *state, struct request *request)
{
    struct filter *filter = state;
    const bool holds = query_holds_for_request(filter->query, request, filter->settings->clock);

    if (!filter->has_told && query_num_given_up(filter->query) != 0)
        tell(filter);
    if (holds)
        filter->next.request(filter->next.state, request);
}

static void filter_lost(void *state, uint64_t count)
{
    struct filter *filter = state;

    filter->next.lost(filter->next.state, count);
}

static void filter_tick(void *state, uint64_t now_ns)
{
    struct filter *filter = state;

    filter->next.tick(filter->next.state, now_ns);
}

static void filter_finish(void *state)
{
    struct filter *filter = state;

    if (filter->next.finish != NULL)
        filter->next.finish(filter->next.state);
    if (filter->has_told) {
        output_flush(filter->settings->output);
        output_say(filter->settings->messages,
                   "h2olog: regular expressions of -q took too long for %" PRIu64 " values in all",
                   query_num_given_up(filter->query));
    }
}

static void filter_close(void *state)
{
    struct filter *filter = state;

    filter->next.close(filter->next.state);
    free(filter);
}

struct sink filter_open(const struct sink_settings *settings, struct query *query, struct sink next)
{
    struct filter *filter = memory_grow(NULL, 1, sizeof(*filter));

    *filter = (struct filter){.settings = settings, .query = query, .next = next};
    query_set_files(query, settings->files, settings->num_files);
    return (struct sink){.state = filter,
                         .record = next.record != NULL ? filter_record : NULL,
                         .request = next.request != NULL ? filter_request : NULL,
                         .lost = filter_lost,
                         .tick = next.tick != NULL ? filter_tick : NULL,
                         .finish = filter_finish,
                         .close = filter_close};
}
