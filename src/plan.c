#include "plan.h"

#include <stdlib.h>
#include <unistd.h>

#include "event/assembler.h"
#include "event/filter.h"

/* What is printed of the headers: those of -s or -R. Without these options, all. */
static struct redact_headers shown_headers(const struct options_words *words)
{
    return (struct redact_headers){words->count == 0, words->words, words->count};
}

static void open_redaction(struct plan *plan)
{
    const struct options *options = plan->options;
    struct redaction *redaction = &plan->redaction;

    if (options->redacts && options->redacted.count == 0) {
        redaction->names = redact_default_names;
        redaction->num_names = redact_num_default_names;
    } else if (options->redacts) {
        redaction->names = options->redacted.words;
        redaction->num_names = options->redacted.count;
    }
    redaction->strips_query = options->strip_query;
    redaction->request = shown_headers(&options->request_headers);
    redaction->response = shown_headers(&options->response_headers);
    /* A line of a request has its method and URL in any case. */
    redaction->keeps_pseudo = options->view->assembles;
}

/* Whether the redaction stage has something to do. */
static bool redacts(const struct plan *plan)
{
    const struct redaction *redaction = &plan->redaction;

    return redaction->num_names != 0 || redaction->strips_query ||
           /* the capture has other headers as well if the query or the columns need them */
           !redaction->request.all || !redaction->response.all;
}

/* With -s or -R, only these headers are needed for printing. */
static void narrow(struct needs_headers *headers, const struct options_words *words)
{
    if (words->count == 0 || !headers->all)
        return;
    headers->all = false;
    for (size_t i = 0; i != words->count; ++i)
        needs_add(headers, words->words[i]);
}

static void find_needs(struct plan *plan)
{
    static const char *const pseudo[] = {":authority", ":method", ":path", ":scheme"};
    const struct options *options = plan->options;
    const struct view *view = options->view;
    struct needs *needs = &plan->needs;

    if (plan->access_log != NULL)
        access_log_add_needs(plan->access_log, needs);
    else if (options->json && view->json_add_needs != NULL)
        view->json_add_needs(needs);
    else
        view->add_needs(needs);
    narrow(&needs->request, &options->request_headers);
    narrow(&needs->response, &options->response_headers);
    for (size_t i = 0; view->assembles && options->request_headers.count != 0 && i != 4; ++i)
        needs_add(&needs->request, pseudo[i]);
    if (plan->query != NULL)
        query_add_needs(plan->query, needs);
    needs->requests = plan->assembles;
    needs->times |= plan->assembles || options->timestamps;
}

void plan_choose_colors(struct plan *plan, int fd)
{
    plan->has_colors = plan->options->color == COLOR_ALWAYS ||
                       (plan->options->color == COLOR_AUTO && !plan->no_color && isatty(fd));
}

int plan_open(struct plan *plan, const struct options *options, struct error *error)
{
    const struct view *view = options->view;
    const char *no_color = getenv("NO_COLOR"); /* see https://no-color.org */

    *plan = (struct plan){.options = options,
                          .no_color = no_color != NULL && no_color[0] != '\0',
                          .additions = view->capture};
    plan->assembles = view->assembles || ((view->features & VIEW_REQUESTS) != 0 &&
                                          (options->query != NULL || options->group));
    if (options->query != NULL) {
        plan->query =
            query_open(options->query, plan->assembles ? QUERY_REQUESTS : QUERY_EVENTS, error);
        if (plan->query == NULL)
            return -1;
    }
    if (options->format != NULL) {
        plan->access_log = access_log_compile(options->format, error);
        if (plan->access_log == NULL)
            return -1;
    }
    open_redaction(plan);
    find_needs(plan);
    plan->additions.times |= plan->needs.times;
    plan->additions.connections |= plan->needs.connections;
    if (plan->assembles && plan->additions.threads == THREADS_NONE)
        plan->additions.threads = THREADS_KEY;
    return 0;
}

void plan_close(struct plan *plan)
{
    query_close(plan->query);
    access_log_close(plan->access_log);
    needs_dispose(&plan->needs);
}

struct sink plan_sink(struct plan *plan, const struct sink_settings *settings)
{
    const struct options *options = plan->options;
    const struct view *view = options->view;
    struct sink sink;

    if (plan->access_log != NULL)
        sink = access_log_open(settings);
    else if (options->json && view->json_sink != NULL)
        sink = view->json_sink(settings);
    else
        sink = view->sink(settings);
    if (options->count != 0)
        sink = limit_open(&plan->limit, options->count, sink);
    if (redacts(plan))
        sink = redact_open(&plan->redaction, sink);
    if (plan->query != NULL)
        sink = filter_open(settings, plan->query, sink);
    if (plan->assembles)
        sink = assembler_open(settings, &options->limits, sink);
    return sink;
}

bool plan_is_done(const struct plan *plan)
{
    return plan->options->count != 0 && plan->limit.left == 0;
}
