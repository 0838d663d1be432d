/* The same program around the best-fit collector. */
#define BEST_FIT 1
#include "faults.c"
