/* Serialised `rat.v1.Record` messages, checked without making an object of what is in them.

   `tails` and `run` go over records that begin with a head and a packed value (see `framing`) and check each value
   against the value model: one MessagePack document, text that is UTF-8, string keys, no extension type, the bounds of
   `limits`. They never refuse: None means that the exact check, in Python, has to look, and that one decides and says
   why. So this check may be narrower than the value model (timestamps are extension types), and is never wider.
   `tails` takes records one by one; `run` takes them as they are in a message, and leaves them there. `documents`, in
   `_json.c`, writes the values of a run as JSON.

   Of the bytes nothing is trusted: what is read lies before `end`, lengths are compared with what is left before they
   are added, and nothing recurses. Cost: 0.07 us a record of 90 bytes; decoding one takes five times as long. */

#include "_wire.h"

typedef struct {
    size_t depth, nodes, map_keys, key_bytes;
} Bounds;

typedef struct {
    uint64_t left; /* Values and keys that are still to come. */
    bool is_map;
} Level;

/* Whether text is UTF-8 (RFC 3629): shortest forms, no surrogates, nothing over U+10FFFF. */
static bool
is_utf8(const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        uint64_t eight;
        while (end - at >= 8 && (memcpy(&eight, at, 8), !(eight & 0x8080808080808080u)))
            at += 8;
        if (at == end)
            break;
        uint8_t first = *at++;
        if (first < 0x80)
            continue;
        size_t more = first < 0xC2 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : first < 0xF5 ? 3 : 0;
        if (!more || (size_t)(end - at) < more)
            return false;
        /* What the second byte may be, which excludes long forms, surrogates and what is too high. */
        uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
        uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
        if (*at < low || *at > high)
            return false;
        for (at++; --more; at++)
            if ((*at & 0xC0) != 0x80)
                return false;
    }
    return true;
}

/* Whether the bytes are one MessagePack document within the bounds. */
static bool
is_document(const uint8_t *at, const uint8_t *end, const Bounds *bounds)
{
    Level levels[MOST_LEVELS];
    size_t depth = 0, nodes = 0;
    do {
        bool is_key = depth && levels[depth - 1].is_map && levels[depth - 1].left % 2 == 0;
        if (depth)
            levels[depth - 1].left--;
        if (!is_key && ++nodes > bounds->nodes)
            return false;
        Head head;
        if (!read_head(&at, end, &head))
            return false;
        if (is_key && (head.kind != TEXT || head.size > bounds->key_bytes))
            return false;
        if (head.kind == LIST || head.kind == MAP) {
            if (depth == bounds->depth || (head.kind == MAP && head.size > bounds->map_keys))
                return false;
            levels[depth].left = head.kind == MAP ? 2 * head.size : head.size;
            levels[depth++].is_map = head.kind == MAP;
        } else {
            if (head.kind == TEXT && !is_utf8(at, at + head.size))
                return false;
            at += head.size;
        }
        while (depth && !levels[depth - 1].left)
            depth--;
    } while (depth);
    return at == end;
}

/* Where the tail of a record begins; NULL when it does not begin with a head and a packed value within the bounds. */
static const uint8_t *
tail_of(const uint8_t *at, const uint8_t *end, const Bounds *bounds)
{
    size_t value = length(&at, end, 0x0A); /* Record.value */
    if (!value)
        return NULL;
    const uint8_t *tail = at + value;
    size_t packed = length(&at, tail, 0x5A); /* DataValue.packed */
    if (!packed || at + packed != tail || !is_document(at, tail, bounds))
        return NULL;
    return tail;
}

/* Puts what follows a record's value into `*found`, a list of `count` that is made when first something does. */
static bool
note_tail(PyObject **found, Py_ssize_t count, Py_ssize_t index, const uint8_t *tail, const uint8_t *end)
{
    if (tail == end && !*found)
        return true;
    Py_ssize_t from = index;
    if (!*found) {
        if (!(*found = PyList_New(count)))
            return false;
        from = 0;
    }
    for (; from <= index; from++) {
        PyObject *bytes = PyBytes_FromStringAndSize((const char *)tail, from < index ? 0 : end - tail);
        if (!bytes || PyList_SetItem(*found, from, bytes) < 0)
            return false;
    }
    return true;
}

static bool
read_bounds(Bounds *bounds, Py_ssize_t depth, Py_ssize_t nodes, Py_ssize_t map_keys, Py_ssize_t key_bytes)
{
    if (depth < 0 || depth > MOST_LEVELS || nodes < 0 || map_keys < 0 || key_bytes < 0) {
        PyErr_Format(PyExc_ValueError, "bounds must be at least 0, and depth at most %d", MOST_LEVELS);
        return false;
    }
    *bounds = (Bounds){(size_t)depth, (size_t)nodes, (size_t)map_keys, (size_t)key_bytes};
    return true;
}

PyDoc_STRVAR(tails_doc,
"tails(records, depth, nodes, map_keys, key_bytes, /)\n--\n\n"
"What comes after the packed value of each record: [] when nothing does after any.\n\n"
"None when one does not begin with a packed value, or its value is not surely within the bounds.");

static PyObject *
tails(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *records, *found = NULL;
    Py_ssize_t depth, nodes, map_keys, key_bytes;
    Bounds bounds;
    if (!PyArg_ParseTuple(args, "O!nnnn:tails", &PyList_Type, &records, &depth, &nodes, &map_keys, &key_bytes)
        || !read_bounds(&bounds, depth, nodes, map_keys, key_bytes))
        return NULL;
    Py_ssize_t count = PyList_Size(records);
    for (Py_ssize_t i = 0; i < count; i++) {
        char *record;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyList_GetItem(records, i), &record, &size) < 0)
            goto fail;
        const uint8_t *end = (const uint8_t *)record + size;
        const uint8_t *tail = tail_of((const uint8_t *)record, end, &bounds);
        if (!tail) {
            Py_XDECREF(found);
            Py_RETURN_NONE;
        }
        if (!note_tail(&found, count, i, tail, end))
            goto fail;
    }
    return found ? found : PyList_New(0);
fail:
    Py_XDECREF(found);
    return NULL;
}

/* Goes over a field of a message that is not one of `tag`; NULL when it is in another form, broken, or a group. */
static const uint8_t *
skip_other(const uint8_t *at, const uint8_t *end, uint8_t tag)
{
    uint64_t parts[2]; /* The tag, and a value or length. */
    for (int part = 0;; part++) {
        unsigned shift = 0;
        for (parts[part] = 0; ; shift += 7) {
            if (at == end || shift > 63)
                return NULL;
            parts[part] |= (uint64_t)(*at & 0x7F) << shift;
            if (!(*at++ & 0x80))
                break;
        }
        unsigned type = parts[0] & 7;
        if (parts[0] >> 3 == tag >> 3)
            return NULL;
        if (part == 1 && type == 0)
            return at;
        if (part == 1 || type == 1 || type == 5) {
            uint64_t size = part == 1 ? parts[1] : type == 1 ? 8 : 4;
            return size > (uint64_t)(end - at) ? NULL : at + size;
        }
        if (type != 0 && type != 2)
            return NULL;
    }
}

PyDoc_STRVAR(run_doc,
"run(message, tag, most, joined, depth, nodes, map_keys, key_bytes, /)\n--\n\n"
"The records of a message, which are its fields of `tag`, in one piece: the rest of the message, their run, the size of\n"
"each (unsigned ints, native), the sum of the sizes, and what `tails` gives.\n\n"
"None where that gives None, when there are no records, they are not in one piece or larger than `joined` bytes on\n"
"average, or one is larger than `most`.");

static PyObject *
run(PyObject *Py_UNUSED(module), PyObject *args)
{
    char *message;
    Py_ssize_t length_of_message, most, joined, depth, nodes, map_keys, key_bytes;
    unsigned char tag;
    Bounds bounds;
    if (!PyArg_ParseTuple(args, "y#bnnnnnn:run", &message, &length_of_message, &tag, &most, &joined, &depth, &nodes,
                          &map_keys, &key_bytes)
        || !read_bounds(&bounds, depth, nodes, map_keys, key_bytes))
        return NULL;
    const uint8_t *begin = (const uint8_t *)message, *end = begin + length_of_message;
    const uint8_t *first = NULL, *last = NULL;
    Py_ssize_t count = 0, total = 0;
    for (const uint8_t *at = begin; at < end;) {
        if (*at != tag) {
            if (!(at = skip_other(at, end, tag)))
                Py_RETURN_NONE;
            continue;
        }
        if (!first)
            first = at;
        else if (at != last)
            Py_RETURN_NONE;
        Py_ssize_t size = (Py_ssize_t)length(&at, end, tag);
        if (!size || size > most)
            Py_RETURN_NONE;
        last = at += size;
        total += size;
        count++;
    }
    if (!count || total / count > joined || (size_t)count > PY_SSIZE_T_MAX / sizeof(unsigned))
        Py_RETURN_NONE;

    PyObject *found = NULL, *sizes = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(unsigned));
    if (!sizes)
        return NULL;
    unsigned *next = (unsigned *)PyBytes_AsString(sizes);
    const uint8_t *at = first;
    for (Py_ssize_t i = 0; i < count; i++) {
        size_t size = length(&at, last, tag);
        const uint8_t *tail = tail_of(at, at + size, &bounds);
        if (!tail) {
            Py_XDECREF(found);
            Py_DECREF(sizes);
            Py_RETURN_NONE;
        }
        *next++ = (unsigned)size;
        at += size;
        if (!note_tail(&found, count, i, tail, at))
            goto fail;
    }
    if (!found && !(found = PyList_New(0)))
        goto fail;
    PyObject *rest = PyBytes_FromStringAndSize(NULL, (first - begin) + (end - last));
    if (!rest)
        goto fail;
    memcpy(PyBytes_AsString(rest), begin, (size_t)(first - begin));
    memcpy(PyBytes_AsString(rest) + (first - begin), last, (size_t)(end - last));
    return Py_BuildValue("Ny#NnN", rest, (const char *)first, (Py_ssize_t)(last - first), sizes, total, found);
fail:
    Py_XDECREF(found);
    Py_DECREF(sizes);
    return NULL;
}

static PyMethodDef methods[] = {
    {"documents", documents, METH_VARARGS, documents_doc},
    {"run", run, METH_VARARGS, run_doc},
    {"tails", tails, METH_VARARGS, tails_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_records", "Serialised records, checked without making objects.", 0, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__records(void)
{
    return PyModuleDef_Init(&definition);
}
