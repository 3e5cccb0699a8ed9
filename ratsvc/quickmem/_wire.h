/* How lengths and numbers stand in serialised records, for `_records.c` and `_json.c`. */

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

PyObject *documents(PyObject *module, PyObject *args);
extern const char documents_doc[];

#endif
