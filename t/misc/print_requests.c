/*
 * Prints random requests with hostile bytes, for tests with other programs:
 *
 *   print-requests json|FORMAT COUNT SEED
 *
 * FORMAT is a format of access logs. These requests have a time and a known status, without which
 * goaccess reads no line.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "print/requests_json.h"

static void print_one(struct request_printer *printer, bool is_json, uint32_t *seed)
{
    static const int32_t statuses[] = {101, 200, 204, 304, 404, 503};
    char *line;

    request_printer_random(printer, seed);
    if (!is_json) {
        printer->request.status = statuses[random_next(seed) % 6];
        printer->request.received_ns = REQUEST_CLOCK_NS + random_next(seed) * UINT64_C(10000000);
    }
    if (is_json && random_next(seed) % 64 == 0)
        printer->sink.lost(printer->sink.state, 1 + random_next(seed));
    line = request_printer_take(printer);
    fputs(line, stdout);
    free(line);
}

int main(int argc, char **argv)
{
    struct request_printer printer;
    unsigned long count;
    uint32_t seed;
    bool is_json;

    if (argc != 4)
        return 2;
    is_json = strcmp(argv[1], "json") == 0;
    count = strtoul(argv[2], NULL, 10);
    seed = (uint32_t)strtoul(argv[3], NULL, 10);
    if (is_json)
        request_printer_open(&printer, requests_json_open);
    else
        request_printer_open_format(&printer, argv[1]);
    for (unsigned long i = 0; i != count; ++i)
        print_one(&printer, is_json, &seed);
    request_printer_close(&printer);
    return 0;
}
