/* The values of a run of records as JSON, or strings as they are, written from their packed form without making an
   object of any.

   What is written is what msgspec writes of the decoded values, to the byte: one text, whichever way a batch took. So
   this is no whole encoder. None means that Python has to: where a value has a time, a number needs an exponent, a map
   says a key twice, or the record is none with a packed value.

   The values were checked when they came, but nothing is read past `end` and nothing written past `room` whatever they
   are. Cost: 0.15 us a record of 90 bytes; to cut it out, decode it, write it and frame it takes five times as long. */

#include "_wire.h"

#include <math.h>

/* Keys of the maps that are open at once: more are left to Python, which finds one that comes twice faster. */
#define MOST_KEYS 64
#define SAFE_INTEGER ((uint64_t)1 << 53)

typedef enum { WRITTEN, NOT_HERE, NO_MEMORY } Outcome;

typedef struct {
    uint8_t *data;
    size_t used, room;
} Text;

typedef struct {
    uint64_t all, left; /* Values and keys: in all, and still to come. */
    size_t keys; /* Of the maps around it. */
    bool is_map;
} Open;

typedef struct {
    const uint8_t *at;
    uint64_t size;
} Key;

/* Makes room for `more` bytes. */
static bool
reserve(Text *text, uint64_t more)
{
    if (more <= text->room - text->used)
        return true;
    if (more > (uint64_t)(PY_SSIZE_T_MAX / 2) - text->used)
        return false;
    size_t room = (text->used + (size_t)more) * 2;
    uint8_t *data = PyMem_Realloc(text->data, room);
    if (!data)
        return false;
    text->data = data;
    text->room = room;
    return true;
}

static void
put(Text *text, const void *data, size_t size)
{
    memcpy(text->data + text->used, data, size);
    text->used += size;
}

static void
put_byte(Text *text, uint8_t byte)
{
    text->data[text->used++] = byte;
}

/* A decimal number, with zeros before it up to `least` digits: at most 20. */
static void
put_number(Text *text, uint64_t number, int least)
{
    uint8_t digits[20];
    int at = 20;
    while (number || 20 - at < least) {
        digits[--at] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
    put(text, digits + at, (size_t)(20 - at));
}

/* Whether one of eight bytes is a control character, a quotation mark or a backslash. */
static bool
has_escaped(uint64_t eight)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t quotes = eight ^ ones * '"', slashes = eight ^ ones * '\\';
    return ((((eight - ones * 0x20) & ~eight) | ((quotes - ones) & ~quotes) | ((slashes - ones) & ~slashes))
            & ones * 0x80) != 0;
}

/* Goes over eight bytes at once, as long as JSON escapes none of them. */
static const uint8_t *
skip_plain(const uint8_t *at, const uint8_t *end)
{
    uint64_t eight;
    while (end - at >= 8 && (memcpy(&eight, at, 8), !has_escaped(eight)))
        at += 8;
    return at;
}

/* A JSON string of UTF-8: at most 6 bytes for each of its own, and 2. */
static void
put_text(Text *text, const uint8_t *at, size_t size)
{
    const uint8_t *end = at + size, *from = at;
    put_byte(text, '"');
    while (at < end) {
        if ((at = skip_plain(at, end)) == end)
            break;
        uint8_t byte = *at++;
        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        put(text, from, (size_t)(at - 1 - from));
        from = at;
        put_byte(text, '\\');
        const char *named = byte >= 0x20 ? NULL : strchr("\bb\tt\nn\ff\rr", byte);
        if (byte >= 0x20)
            put_byte(text, byte);
        else if (byte && named)
            put_byte(text, (uint8_t)named[1]);
        else {
            put(text, "u00", 3);
            put_byte(text, byte < 0x10 ? '0' : '1');
            put_byte(text, (uint8_t)"0123456789abcdef"[byte & 15]);
        }
    }
    put(text, from, (size_t)(end - from));
    put_byte(text, '"');
}

/* Bytes, as base64 (RFC 4648) in a JSON string. */
static void
put_bytes(Text *text, const uint8_t *at, size_t size)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    put_byte(text, '"');
    for (; size; at += 3) {
        size_t here = size < 3 ? size : 3;
        uint32_t bits = (uint32_t)at[0] << 16;
        if (here > 1)
            bits |= (uint32_t)at[1] << 8;
        if (here > 2)
            bits |= at[2];
        for (size_t i = 0; i < 4; i++)
            put_byte(text, i <= here ? (uint8_t)alphabet[bits >> (18 - 6 * i) & 63] : '=');
        size -= here;
    }
    put_byte(text, '"');
}

/* An integer, as text where doubles may not have it. */
static void
put_integer(Text *text, uint64_t size, bool is_negative, bool is_text)
{
    is_text = is_text && size > SAFE_INTEGER;
    if (is_text)
        put_byte(text, '"');
    if (is_negative)
        put_byte(text, '-');
    put_number(text, size, 1);
    if (is_text)
        put_byte(text, '"');
}

/* The shortest decimal that is this double again. With at most 15 digits there is but one decimal for a double, so the
   first that divides back to it is the shortest; CPython finds the others. */
static Outcome
put_double(Text *text, double value)
{
    if (!isfinite(value)) {
        put(text, "null", 4);
        return WRITTEN;
    }
    double size = fabs(value), scale = 1;
    if (size == 0 || (size >= 1e-4 && size < 1e9)) {
        for (int places = 0; places <= 6; places++, scale *= 10) {
            uint64_t digits = (uint64_t)(size * scale + 0.5);
            if ((double)digits / scale != size)
                continue;
            if (signbit(value))
                put_byte(text, '-');
            put_number(text, digits / (uint64_t)scale, 1);
            put_byte(text, '.');
            put_number(text, digits % (uint64_t)scale, places ? places : 1);
            return WRITTEN;
        }
    }
    char *found = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (!found)
        return NO_MEMORY;
    size_t length = strlen(found);
    bool is_plain = length <= 32 && !strchr(found, 'e');
    if (is_plain)
        put(text, found, length);
    PyMem_Free(found);
    return is_plain ? WRITTEN : NOT_HERE;
}

/* The integer that a head of kind SIGNED begins. */
static int64_t
signed_number(const uint8_t *at, const Head *head)
{
    if (!head->size)
        return (int8_t)head->first;
    uint64_t bits = number(at, (size_t)head->size), sign = (uint64_t)1 << (8 * head->size - 1);
    return (int64_t)((bits ^ sign) - sign);
}

/* A number of `size` bytes, 4 or 8 (IEEE 754). */
static double
floating(const uint8_t *at, uint64_t size)
{
    uint64_t bits = number(at, (size_t)size);
    uint32_t low = (uint32_t)bits;
    double value;
    float narrow;
    memcpy(&value, &bits, sizeof value);
    memcpy(&narrow, &low, sizeof narrow);
    return size == 8 ? value : narrow;
}

/* Writes one packed document, which must be all there is. */
static Outcome
put_document(Text *text, const uint8_t *at, const uint8_t *end, bool as_text)
{
    Open levels[MOST_LEVELS];
    Key seen[MOST_KEYS];
    size_t depth = 0, keys = 0;
    do {
        Open *open = depth ? &levels[depth - 1] : NULL;
        bool is_key = open && open->is_map && open->left % 2 == 0;
        Head head;
        if (!read_head(&at, end, &head) || (is_key && head.kind != TEXT))
            return NOT_HERE;
        bool has_bytes = head.kind == TEXT || head.kind == BYTES;
        /* A sign of what is between values, a scalar, and the ends of all levels. */
        if (!reserve(text, 40 + MOST_LEVELS + (has_bytes ? 6 * head.size : 0)))
            return NO_MEMORY;
        if (open) {
            if (open->left != open->all)
                put_byte(text, open->is_map && !is_key ? ':' : ',');
            open->left--;
        }
        if (is_key) {
            for (size_t i = open->keys; i < keys; i++)
                if (seen[i].size == head.size && !memcmp(seen[i].at, at, (size_t)head.size))
                    return NOT_HERE;
            if (keys == MOST_KEYS)
                return NOT_HERE;
            seen[keys++] = (Key){at, head.size};
        }
        switch (head.kind) {
        case WORD:
            if (head.first == 0xC2)
                put(text, "false", 5);
            else
                put(text, head.first == 0xC3 ? "true" : "null", 4);
            break;
        case INTEGER:
            put_integer(text, head.size ? number(at, (size_t)head.size) : head.first, false, as_text);
            break;
        case SIGNED: {
            int64_t value = signed_number(at, &head);
            put_integer(text, value < 0 ? ~(uint64_t)value + 1 : (uint64_t)value, value < 0, as_text);
            break;
        }
        case FLOAT: {
            Outcome outcome = put_double(text, floating(at, head.size));
            if (outcome != WRITTEN)
                return outcome;
            break;
        }
        case TEXT:
            put_text(text, at, (size_t)head.size);
            break;
        case BYTES:
            put_bytes(text, at, (size_t)head.size);
            break;
        case LIST:
        case MAP:
            if (depth == MOST_LEVELS)
                return NOT_HERE;
            put_byte(text, head.kind == MAP ? '{' : '[');
            uint64_t all = head.kind == MAP ? 2 * head.size : head.size;
            levels[depth++] = (Open){all, all, keys, head.kind == MAP};
            head.size = 0;
        }
        at += head.size;
        while (depth && !levels[depth - 1].left) {
            keys = levels[--depth].keys;
            put_byte(text, levels[depth].is_map ? '}' : ']');
        }
    } while (depth);
    return at == end ? WRITTEN : NOT_HERE;
}

/* What becomes of a value that is a string. */
typedef enum { AS_JSON, AS_IT_IS, AS_LINES, BYTES_TOO } Strings;

/* The string, or with `or_bytes` the bytes, that a packed document is: where it begins; NULL when it is none. */
static const uint8_t *
string_of(const uint8_t *at, const uint8_t *end, bool or_bytes)
{
    Head head;
    bool is_there = read_head(&at, end, &head) && (head.kind == TEXT || (or_bytes && head.kind == BYTES));
    return is_there && head.size == (uint64_t)(end - at) ? at : NULL;
}

/* Writes a string, or its lines (which CR, LF and CRLF break) with `between` between them. */
static Outcome
put_string(Text *text, const uint8_t *at, const uint8_t *end, Strings how, const char *between, size_t size)
{
    for (;;) {
        const uint8_t *from = at;
        if (how != AS_LINES)
            at = end;
        while ((at = skip_plain(at, end)) < end && *at != '\r' && *at != '\n')
            at++;
        if (!reserve(text, (uint64_t)(at - from) + size))
            return NO_MEMORY;
        put(text, from, (size_t)(at - from));
        if (at == end)
            return WRITTEN;
        put(text, between, size);
        at += end - at > 1 && at[0] == '\r' && at[1] == '\n' ? 2 : 1;
    }
}

const char documents_doc[] = PyDoc_STR(
"documents(run, tag, before, offset, between, after, as_text, strings, /)\n--\n\n"
"The values of a run of records, whose tag is `tag`, as JSON: each after `before`, its offset (they count on from\n"
"`offset`; none is written when that is negative) and `between`, and before `after`. With `as_text`, integers beyond\n"
"2**53 are strings. Values that are strings are JSON too (`strings` is 0), or written as they are (1), with `between`\n"
"for each of their line breaks (2); with 3 also those that are bytes are written as they are.\n\n"
"None where Python has to: see the beginning of the source.");

PyObject *
documents(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *run, *before, *between, *after;
    Py_ssize_t run_size, before_size, between_size, after_size;
    unsigned char tag;
    long long offset;
    int as_text, strings;
    if (!PyArg_ParseTuple(args, "y#by#Ly#y#pi:documents", &run, &run_size, &tag, &before, &before_size, &offset, &between,
                          &between_size, &after, &after_size, &as_text, &strings))
        return NULL;
    const uint8_t *at = (const uint8_t *)run, *end = at + run_size;
    uint64_t numbered = (uint64_t)offset, around = 20 + (uint64_t)before_size + (uint64_t)between_size + (uint64_t)after_size;
    Text text = {NULL, 0, 0};
    Outcome outcome = reserve(&text, (uint64_t)run_size) ? WRITTEN : NO_MEMORY;
    for (; at < end && outcome == WRITTEN; numbered++) {
        size_t size = length(&at, end, tag);
        const uint8_t *value = at, *next = at + size;
        size_t inner = size ? length(&value, next, 0x0A) : 0; /* Record.value */
        const uint8_t *tail = value + inner;
        size_t packed = inner ? length(&value, tail, 0x5A) : 0; /* DataValue.packed */
        if (!packed || value + packed != tail) {
            outcome = NOT_HERE;
            break;
        }
        if (!reserve(&text, around)) {
            outcome = NO_MEMORY;
            break;
        }
        put(&text, before, (size_t)before_size);
        if (offset >= 0)
            put_number(&text, numbered, 1);
        put(&text, between, (size_t)between_size);
        const uint8_t *string = strings == AS_JSON ? NULL : string_of(value, tail, strings == BYTES_TOO);
        if (string)
            outcome = put_string(&text, string, tail, strings, between, (size_t)between_size);
        else
            outcome = put_document(&text, value, tail, as_text);
        if (outcome == WRITTEN && !reserve(&text, around))
            outcome = NO_MEMORY;
        if (outcome == WRITTEN)
            put(&text, after, (size_t)after_size);
        at = next;
    }
    PyObject *found = NULL;
    if (outcome == WRITTEN)
        found = PyBytes_FromStringAndSize((const char *)text.data, (Py_ssize_t)text.used);
    else if (outcome == NOT_HERE)
        found = Py_NewRef(Py_None);
    else
        PyErr_NoMemory();
    PyMem_Free(text.data);
    return found;
}
