#include "print/text.h"

#include <string.h>

#include "print/escape.h"

const char *const http_probes[] = {
    "h2o:receive_request",
    "h2o:receive_request_header",
    "h2o:send_response",
    "h2o:send_response_status", /* what send_response was called until 2019-12-15 */
    "h2o:send_response_header",
    NULL,
};

/* The value of a field; NULL if the signature has no such field. */
static const struct value *find(const struct signature *signature, const struct value *values,
                                const char *key)
{
    for (size_t i = 0; i != signature->num_fields; ++i) {
        if (strcmp(signature->fields[i].key, key) == 0)
            return &values[i];
    }
    return NULL;
}

/* Text, and what was cut off it. */
static void print_text(struct output *output, const struct value *value)
{
    size_t size = value->size;

    if (value->bytes == NULL) {
        output_string(output, "[unreadable]");
        return;
    }
    if (value->full_size > size)
        size -= escape_cut(value->bytes, size);
    escape_print(output, value->bytes, size);
    if (value->full_size > size) {
        output_string(output, " [+");
        output_unsigned(output, value->full_size - size);
        output_string(output, " bytes]");
    }
}

static void print_head(struct output *output, const struct value *values, const char *tag)
{
    output_unsigned(output, values[0].number);
    output_bytes(output, " ", 1);
    output_unsigned(output, values[1].number);
    output_string(output, tag);
}

static int print_header(struct output *output, const struct signature *signature,
                        const struct value *values, const char *tag)
{
    const struct value *name = find(signature, values, "name");
    const struct value *value = find(signature, values, "value");

    if (name == NULL || value == NULL)
        return -1;
    print_head(output, values, tag);
    print_text(output, name);
    output_bytes(output, " ", 1);
    print_text(output, value);
    return 0;
}

static int print_status(struct output *output, const struct signature *signature,
                        const struct value *values)
{
    const struct value *status = find(signature, values, "status");

    if (status == NULL)
        return -1;
    print_head(output, values, " TxStatus   ");
    output_signed(output, status->integer);
    return 0;
}

static int print_protocol(struct output *output, const struct signature *signature,
                          const struct value *values)
{
    const struct value *version = find(signature, values, "http-version");

    if (version == NULL)
        return -1;
    print_head(output, values, " RxProtocol HTTP/");
    output_signed(output, version->integer / 256); /* h2o's http_version: major * 256 + minor */
    output_bytes(output, ".", 1);
    output_signed(output, version->integer % 256);
    return 0;
}

static int print_line(struct output *output, const struct signature *signature,
                      const struct value *values)
{
    if (strcmp(signature->probe, "receive_request_header") == 0)
        return print_header(output, signature, values, " RxHeader   ");
    if (strcmp(signature->probe, "send_response_header") == 0)
        return print_header(output, signature, values, " TxHeader   ");
    if (strcmp(signature->probe, "receive_request") == 0)
        return print_protocol(output, signature, values);
    return print_status(output, signature, values);
}

int text_print(struct text *http, const struct event *event)
{
    struct value values[DECODE_FIELDS_MAX];
    const struct signature *signature;
    struct event_head head;
    uint16_t id = decode_id(event);

    if (id >= http->num_probes)
        return -1;
    signature = http->probes[id].signature;
    if (signature->num_fields < 3 || decode(signature, 0, event, &head, values) != 0)
        return -1;
    if (print_line(http->output, signature, values) != 0) {
        output_drop_line(http->output);
        return -1;
    }
    output_end_line(http->output);
    return 0;
}
