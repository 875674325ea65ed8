#include "error.h"

#include <stdarg.h>
#include <stdio.h>

#include "print/escape.h"

int error_set(struct error *error, enum error_status status, const char *format, ...)
{
    va_list arguments;

    error->status = status;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    escape_mend(error->text);
    return -1;
}

int error_interrupt(struct error *error)
{
    *error = (struct error){.status = ERROR_INTERRUPTED};
    return -1;
}
