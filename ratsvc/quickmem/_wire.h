/* How lengths, numbers and packed values stand in serialised records, for `_records.c` and `_json.c`. */

#ifndef RATSVC_WIRE_H
#define RATSVC_WIRE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define MOST_LEVELS 64

/* An unsigned number of `width` bytes, the highest first. */
static inline uint64_t
number(const uint8_t *at, size_t width)
{
    uint64_t found = 0;
    while (width--)
        found = found << 8 | *at++;
    return found;
}

/* The length after the tag at `*at`, in its shortest form, at most what is left; 0 when there is none. */
static inline size_t
length(const uint8_t **at, const uint8_t *end, uint8_t tag)
{
    const uint8_t *next = *at;
    if (next == end || *next++ != tag)
        return 0;
    uint64_t found = 0;
    for (unsigned shift = 0; shift < 35 && next < end; shift += 7) {
        uint8_t part = *next++;
        found |= (uint64_t)(part & 0x7F) << shift;
        if (part & 0x80)
            continue;
        if ((shift && !part) || found > (uint64_t)(end - next))
            return 0;
        *at = next;
        return (size_t)found;
    }
    return 0;
}

typedef enum { WORD, INTEGER, SIGNED, FLOAT, TEXT, BYTES, LIST, MAP } Kind;

/* How a packed value (MessagePack) begins. */
typedef struct {
    Kind kind; /* WORD: nil, false or true. */
    uint8_t first;
    uint64_t size; /* Bytes of text, bytes, or the number that follows; items of a list or map. */
} Head;

/* Reads how the value at `*at` begins, and goes over that. False for extension types, and where it is cut. As a call of
   its own it would make the check of a record a quarter slower. */
static inline __attribute__((always_inline)) bool
read_head(const uint8_t **at, const uint8_t *end, Head *head)
{
    if (*at == end)
        return false;
    uint8_t first = *(*at)++;
    size_t width = 0; /* Of the size that follows. */
    *head = (Head){WORD, first, 0};
    if (first < 0x80)
        head->kind = INTEGER;
    else if (first >= 0xE0)
        head->kind = SIGNED;
    else if (first < 0x90)
        head->kind = MAP, head->size = first & 15;
    else if (first < 0xA0)
        head->kind = LIST, head->size = first & 15;
    else if (first < 0xC0)
        head->kind = TEXT, head->size = first & 31;
    else if (first == 0xC0 || first == 0xC2 || first == 0xC3)
        ;
    else if (first >= 0xC4 && first <= 0xC6)
        head->kind = BYTES, width = (size_t)1 << (first - 0xC4);
    else if (first == 0xCA || first == 0xCB)
        head->kind = FLOAT, head->size = first == 0xCA ? 4 : 8;
    else if (first >= 0xCC && first <= 0xD3)
        head->kind = first < 0xD0 ? INTEGER : SIGNED, head->size = (uint64_t)1 << (first & 3);
    else if (first >= 0xD9 && first <= 0xDB)
        head->kind = TEXT, width = (size_t)1 << (first - 0xD9);
    else if (first == 0xDC || first == 0xDD)
        head->kind = LIST, width = first == 0xDC ? 2 : 4;
    else if (first == 0xDE || first == 0xDF)
        head->kind = MAP, width = first == 0xDE ? 2 : 4;
    else
        return false;
    if (width) {
        if ((size_t)(end - *at) < width)
            return false;
        head->size = number(*at, width);
        *at += width;
    }
    return head->kind == LIST || head->kind == MAP || head->size <= (uint64_t)(end - *at);
}

PyObject *documents(PyObject *module, PyObject *args);
extern const char documents_doc[];

#endif
