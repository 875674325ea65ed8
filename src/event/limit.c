#include "event/limit.h"

static int limit_record(void *state, const struct record *record)
{
    struct limit *limit = state;

    if (limit->left == 0)
        return 0;
    if (limit->next.record(limit->next.state, record) != 0)
        return -1;
    --limit->left;
    return 0;
}

static void limit_request(void *state, struct request *request)
{
    struct limit *limit = state;

    if (limit->left == 0)
        return;
    --limit->left;
    limit->next.request(limit->next.state, request);
}

static void limit_lost(void *state, uint64_t count)
{
    struct limit *limit = state;

    if (limit->left != 0)
        limit->next.lost(limit->next.state, count);
}

static void limit_tick(void *state, uint64_t now_ns)
{
    struct limit *limit = state;

    if (limit->next.tick != NULL)
        limit->next.tick(limit->next.state, now_ns);
}

static void limit_finish(void *state)
{
    struct limit *limit = state;

    if (limit->next.finish != NULL)
        limit->next.finish(limit->next.state);
}

static void limit_close(void *state)
{
    struct limit *limit = state;

    limit->next.close(limit->next.state);
}

struct sink limit_open(struct limit *limit, uint64_t count, struct sink next)
{
    *limit = (struct limit){count, next};
    return (struct sink){.state = limit,
                         .record = next.record != NULL ? limit_record : NULL,
                         .request = next.request != NULL ? limit_request : NULL,
                         .lost = limit_lost,
                         .tick = limit_tick,
                         .finish = limit_finish,
                         .close = limit_close};
}
