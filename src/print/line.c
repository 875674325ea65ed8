#include "print/line.h"

#include <inttypes.h>

#include "print/escape.h"

/* Returns the size without a character that was cut in the middle. */
static size_t whole_size(const struct value *value)
{
    if (value->full_size <= value->size)
        return value->size;
    return value->size - escape_cut(value->bytes, value->size);
}

void line_text(struct output *output, line_escape escape, const struct value *value)
{
    size_t size;

    if (value->bytes == NULL) {
        output_string(output, "[unreadable]");
        return;
    }
    size = whole_size(value);
    escape(output, value->bytes, size);
    if (value->full_size > size) {
        output_string(output, size != 0 ? " [+" : "[+");
        output_unsigned(output, value->full_size - size);
        output_string(output, " bytes]");
    }
}

void line_json(struct output *output, const struct value *value)
{
    if (value->bytes == NULL) {
        output_string(output, "null");
        return;
    }
    output_bytes(output, "\"", 1);
    escape_print_json(output, value->bytes, whole_size(value));
    output_bytes(output, "\"", 1);
}

void line_protocol(struct output *output, int32_t version)
{
    output_string(output, "HTTP/");
    output_signed(output, version / 256);
    if (version < 0x200) { /* later versions have no minor number */
        output_bytes(output, ".", 1);
        output_signed(output, version % 256);
    }
}

bool line_request_time(const struct request *request, uint64_t *time_ns)
{
    *time_ns = request->received_ns != 0 ? request->received_ns : request->responded_ns;
    return *time_ns != 0;
}

void line_json_lost(const struct sink_settings *settings, uint64_t count)
{
    struct output *output = settings->output;

    output_string(output, ",\"time\":");
    output_unsigned(output, clock_wall(settings->clock, settings->clock->now_ns) / 1000000);
    output_string(output, ",\"lost\":");
    output_unsigned(output, count);
    output_bytes(output, "}", 1);
    output_end_line(output);
}

void line_lost(const struct sink_settings *settings, uint64_t count)
{
    output_flush(settings->output);
    output_say(settings->messages,
               "h2olog: %" PRIu64 " events are lost here; use a larger ring (-b)", count);
}
