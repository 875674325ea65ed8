/*
 * Ending early: a descriptor that is readable once a signal has come that ends the run.
 */
#ifndef H2OLOG_INTERRUPT_H
#define H2OLOG_INTERRUPT_H

#include <stdbool.h>

/* Whether such a signal has come. A descriptor of -1 says that none ever does. */
bool interrupt_is_due(int signals);

#endif
