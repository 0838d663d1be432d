/* What collectors of the tests' own stand on: no C library, panics, and where the linker put things. */
#include <stdint.h>

typedef uint32_t word;

/* What a panic is: without PANICS the program traps, with it the host is called, so that frames are written back
 * and Asyncify finds something to instrument. */
#if PANICS
__attribute__((import_module("env"), import_name("panic"))) void panic(void);
#define PANIC() (panic(), __builtin_trap())
#else
#define PANIC() __builtin_trap()
#endif

extern uint8_t __heap_base, __global_base;
#define HEAP_START ((word)(uintptr_t)&__heap_base)
#define GLOBALS_START ((word)(uintptr_t)&__global_base)
#ifndef STACK_TOP
#define STACK_TOP 65536u
#endif

__attribute__((noinline, used)) void *memset(void *to, int value, unsigned long length_bytes) {
    volatile uint8_t *bytes = to;
    for (unsigned long i = 0; i < length_bytes; i++) bytes[i] = (uint8_t)value;
    return to;
}

__attribute__((noinline, used)) void *memcpy(void *to, const void *from, unsigned long length_bytes) {
    volatile uint8_t *bytes = to;
    for (unsigned long i = 0; i < length_bytes; i++) bytes[i] = ((const uint8_t *)from)[i];
    return to;
}

/* In stack_pointer.s. */
word stack_pointer(void);
void set_stack_pointer(word);
