#include "event.h"
#include "print/line.h"
#include "query_tree.h"

/*
 * Compares all headers of a name. Those that are not comparable do not count. If a regular
 * expression gave up on one, !~ does not hold.
 */
static enum query_outcome compare_headers(struct query *query,
                                          const struct query_comparison *comparison,
                                          const struct request *request)
{
    const bool is_negated = comparison->op == QUERY_UNEQUAL || comparison->op == QUERY_MATCHES_NOT;
    enum query_outcome outcome = OUTCOME_INCOMPARABLE;
    struct request_header header;

    for (size_t at = 0; request_next_header(request, &at, &header);) {
        enum query_outcome one;
        if (header.side != comparison->side || !query_is_named(&header.name, comparison->key))
            continue;
        one = query_compare(query, comparison, query_value_operand(OPERAND_TEXT, &header.value));
        if (one == (is_negated ? OUTCOME_FAILS : OUTCOME_HOLDS) ||
            (is_negated && one == OUTCOME_GAVE_UP))
            return one;
        if (one < outcome)
            outcome = one;
    }
    return outcome;
}

static struct query_operand pseudo_operand(const struct request *request, const char *name)
{
    struct request_header header;

    /* its value does not point into `header`, because nothing is redacted before the query */
    return request_find_header(request, REQUEST_SIDE, name, &header)
               ? query_value_operand(OPERAND_TEXT, &header.value)
               : query_absent;
}

static struct query_operand protocol_operand(int32_t version)
{
    switch (version) {
    case 0x100:
        return query_text_operand("HTTP/1.0");
    case 0x101:
        return query_text_operand("HTTP/1.1");
    case 0x200:
        return query_text_operand("HTTP/2");
    case 0x300:
        return query_text_operand("HTTP/3");
    default:
        return query_absent;
    }
}

/* Milliseconds since the epoch, with microseconds, as printed. */
static struct query_operand time_operand(uint64_t time_ns, const struct clock *clock)
{
    return (struct query_operand){.kind = OPERAND_NUMBER,
                                  .number = (query_number)(clock_wall(clock, time_ns) / 1000) *
                                            (QUERY_ONE / 1000)};
}

static struct query_operand request_operand(const struct query_comparison *comparison,
                                            const struct request *request,
                                            const struct clock *clock)
{
    uint64_t time_ns;

    switch (comparison->subject.name) {
    case NAME_TIME:
        return line_request_time(request, &time_ns) ? time_operand(time_ns, clock) : query_absent;
    case NAME_CONNECTION:
        return request->connection != 0 ? query_number_operand(request->connection) : query_absent;
    case NAME_CONN:
        return query_number_operand(request->conn);
    case NAME_REQ:
        return query_number_operand(request->req);
    case NAME_PROTOCOL:
        return protocol_operand(request->version);
    case NAME_PSEUDO:
        return pseudo_operand(request, comparison->subject.header);
    case NAME_STATUS:
        return request->status != 0 ? query_number_operand(request->status) : query_absent;
    case NAME_TTFB:
        return request_ttfb(request, &time_ns) ? query_number_operand(time_ns / 1000)
                                               : query_absent;
    case NAME_DURATION:
        return request_duration(request, &time_ns) ? query_number_operand(time_ns / 1000)
                                                   : query_absent;
    case NAME_BYTES:
        return request->has_bytes ? query_number_operand(request->bytes) : query_absent;
    case NAME_STATE:
        return query_text_operand(request_state_name(request->state));
    case NAME_TRUNCATED:
        return request->is_truncated ? query_number_operand(1) : query_absent;
    default:
        return query_absent;
    }
}

enum query_outcome query_compare_request(const struct query_evaluation *subject,
                                         struct query_comparison *comparison)
{
    if (comparison->subject.name == NAME_HEADER)
        return compare_headers(subject->query, comparison, subject->request);
    return query_compare(subject->query, comparison,
                         request_operand(comparison, subject->request, subject->clock));
}
