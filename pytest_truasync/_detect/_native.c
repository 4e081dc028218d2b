/* The part in C: fast paths, each of which has a partner in Python that decides alike. See native.py.

   A Gate repeats the cheapest decision of the wrapper that it stands before, `CallProbe._wrap_*` in
   calls.py: that the call is let through. Whatever it is not sure of goes to the wrapper, which
   decides from scratch. A Lane does so for a wrapper of a function in Python. TaskNoter does as
   `LoopProbe._note_task`, stack_key as `stack_key_in_python`.
   Who changes one changes both; tests/detect/test_native.py and test_lanes.py compare them. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>
#include <stdint.h>
#ifdef __linux__
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#endif

#ifdef _MSC_VER
#define THREAD_LOCAL __declspec(thread)
#else
#define THREAD_LOCAL _Thread_local
#endif

#ifndef SOURCE /* digest of this file, given by the build */
#define SOURCE ""
#endif

/* Names of attributes. */
static PyObject *str_alarm, *str_asleep, *str_clock, *str_coro, *str_cr_code, *str_filename, *str_fresh_ns,
    *str_lag, *str_lane, *str_looking, *str_loops,
    *str_over, *str_parked, *str_renew_ns, *str_sampler, *str_source_traceback, *str_task, *str_tick_ns,
    *str_watch;

static const struct {
    PyObject **place;
    const char *name;
} strings[] = {
    {&str_alarm, "alarm"},
    {&str_asleep, "asleep"},
    {&str_clock, "clock"},
    {&str_coro, "coro"},
    {&str_cr_code, "cr_code"},
    {&str_filename, "filename"},
    {&str_fresh_ns, "fresh_ns"},
    {&str_lag, "lag"},
    {&str_lane, "_truasync_lane"},
    {&str_looking, "looking"},
    {&str_loops, "loops"},
    {&str_over, "over"},
    {&str_parked, "parked"},
    {&str_renew_ns, "renew_ns"},
    {&str_sampler, "sampler"},
    {&str_source_traceback, "_source_traceback"},
    {&str_task, "task"},
    {&str_tick_ns, "tick_ns"},
    {&str_watch, "watch"},
};

/* -- Slots: attributes that are read at each call that comes by, where they lie in the object */

typedef struct {
    const char *owner; /* name of the type */
    const char *attribute;
    PyObject *name;
    PyTypeObject *type; /* whose objects have it at the offset; for good */
    Py_ssize_t offset;
} Slot;

#define WATCH "ThreadWatch"
#define SUBJECT "Subject"
#define STEPS "StepReader"

static Slot began = {WATCH, "began"}, below = {WATCH, "below"}, busy = {WATCH, "busy"}, call_now = {WATCH, "call"},
            explained_ns = {WATCH, "explained_ns"}, loop_now = {WATCH, "loop"},
            poller = {WATCH, "poller"}, renew_ns = {WATCH, "renew_ns"}, rested = {WATCH, "rested"},
            subject_now = {WATCH, "subject"}, work = {WATCH, "work"};
static Slot explained_before_ns = {SUBJECT, "explained_ns"}, last = {SUBJECT, "last"},
            resumed_ns = {SUBJECT, "resumed_ns"}, stay = {SUBJECT, "stay"},
            steps_of = {SUBJECT, "steps"};
static Slot kind_of = {STEPS, "kind"}, loop_read = {STEPS, "loop"};
static Slot stands_for = {"module", "__call__"};
static Slot *const slots_read[] = {
    &began, &below, &busy, &call_now, &explained_ns, &loop_now, &poller, &renew_ns, &rested, &subject_now,
    &work, &explained_before_ns, &last, &resumed_ns, &stay, &steps_of, &kind_of, &loop_read,
    &stands_for,
};

/* Return an attribute of an object, a new reference; of one of the type that is known, at once. */
static inline PyObject *
read_slot(PyObject *object, const Slot *slot)
{
    if (Py_TYPE(object) == slot->type) {
        PyObject *value = *(PyObject **)((char *)object + slot->offset);
        if (value != NULL) {
            return Py_NewRef(value);
        }
    }
    return PyObject_GetAttr(object, slot->name);
}

/* Set an attribute that `read_slot` reads. */
static inline int
write_slot(PyObject *object, const Slot *slot, PyObject *value)
{
    if (Py_TYPE(object) == slot->type) {
        Py_XSETREF(*(PyObject **)((char *)object + slot->offset), Py_NewRef(value));
        return 0;
    }
    return PyObject_SetAttr(object, slot->name, value);
}

/* Tell whether an attribute is the one thing: 1 or 0, or -1. */
static inline int
slot_is(PyObject *object, const Slot *slot, PyObject *thing)
{
    PyObject *value = read_slot(object, slot);
    Py_XDECREF(value); /* compared only */
    return value == NULL ? -1 : value == thing;
}

/* know_slots(type): read those attributes that the type has as slots where they lie */
static PyObject *
know_slots(PyObject *unused, PyObject *type)
{
    if (!PyType_Check(type)) {
        PyErr_SetString(PyExc_TypeError, "know_slots(type)");
        return NULL;
    }
    for (size_t each = 0; each < Py_ARRAY_LENGTH(slots_read); each++) {
        Slot *slot = slots_read[each];
        if (strcmp(slot->owner, ((PyTypeObject *)type)->tp_name) != 0) {
            continue;
        }
        PyObject *found = PyObject_GetAttr(type, slot->name);
        if (found == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
                return NULL;
            }
            PyErr_Clear();
            continue;
        }
        if (Py_IS_TYPE(found, &PyMemberDescr_Type)
            && PyDescr_TYPE(found) == (PyTypeObject *)type) {
            PyMemberDef *member = ((PyMemberDescrObject *)found)->d_member;
            if (member->type == T_OBJECT_EX && member->flags == 0) {
                PyTypeObject *before = slot->type; /* which may run code when it goes */
                slot->type = (PyTypeObject *)Py_NewRef(type);
                slot->offset = member->offset;
                Py_XDECREF(before);
            }
        }
        Py_DECREF(found);
    }
    Py_RETURN_NONE;
}

static int
takes_no_names(const char *type, PyObject *kwargs)
{
    if (kwargs == NULL || PyDict_GET_SIZE(kwargs) == 0) {
        return 1;
    }
    PyErr_Format(PyExc_TypeError, "%s() takes no arguments by name", type);
    return 0;
}

#ifdef __linux__

static PyObject *perf_counter_ns; /* of `time`; here it tells the time of CLOCK_MONOTONIC */

static int64_t
time_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int64_t
monotonic_ns(void)
{
    return time_of(CLOCK_MONOTONIC);
}

#endif

/* -- Threads: the dict that tells which threads are watched, made for one question, asked at each
   call that comes by a gate: what is known of the calling thread? Each thread keeps its answer until
   the dict changes. */

typedef struct {
    PyDictObject dict;
    uint64_t version;  /* of all such dicts together, anew with each change */
    Py_ssize_t parked; /* how many of these threads wait for the events of their loops, in `park` */
} Threads;

static uint64_t versions; /* guarded by the GIL, as all below */

static THREAD_LOCAL struct {
    uint64_t version;
    PyObject *watch; /* borrowed from the dict of that version; NULL where there is none */
} here;

/* To be called right before a change, so that nothing runs in between: what the change lets go of may
   run code, which may ask. */
static void
changed(PyObject *threads)
{
    ((Threads *)threads)->version = ++versions;
}

/* Look up what is known of the calling thread: 1 and a borrowed reference, 0 for nothing, or -1. */
static int
ask_here(PyObject *threads, PyObject **watch)
{
    uint64_t version = ((Threads *)threads)->version;
    if (here.version != version) {
        PyObject *number = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
        if (number == NULL) {
            return -1;
        }
        PyObject *found = PyDict_GetItemWithError(threads, number);
        Py_DECREF(number);
        if (found == NULL && PyErr_Occurred()) {
            return -1;
        }
        here.watch = found;
        here.version = version; /* to look a number up runs no code that could change it */
    }
    *watch = here.watch;
    return here.watch != NULL;
}

static int
threads_set(PyObject *threads, PyObject *key, PyObject *value)
{
    changed(threads);
    return PyDict_Type.tp_as_mapping->mp_ass_subscript(threads, key, value);
}

/* Not by its type: another import of this module has made another one. */
static int
is_threads(PyObject *object)
{
    return PyDict_Check(object)
           && Py_TYPE(object)->tp_as_mapping->mp_ass_subscript == threads_set;
}

static PyObject *
threads_pop(PyObject *threads, PyObject *args)
{
    PyObject *key, *fallback = NULL;
    if (!PyArg_UnpackTuple(args, "pop", 1, 2, &key, &fallback)) {
        return NULL;
    }
    PyObject *value = PyDict_GetItemWithError(threads, key);
    if (value == NULL) {
        if (fallback == NULL && !PyErr_Occurred()) {
            PyErr_SetObject(PyExc_KeyError, key);
        }
        return PyErr_Occurred() ? NULL : Py_NewRef(fallback);
    }
    Py_INCREF(value);
    if (threads_set(threads, key, NULL) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

static PyObject *
threads_clear(PyObject *threads, PyObject *unused)
{
    changed(threads);
    PyDict_Clear(threads);
    Py_RETURN_NONE;
}

static PyObject *
threads_refuse(PyObject *threads, PyObject *args)
{
    PyErr_SetString(PyExc_TypeError, "threads are put in one by one");
    return NULL;
}

static int
threads_init(PyObject *threads, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) != 0 || kwargs != NULL) {
        threads_refuse(threads, args);
        return -1;
    }
    return 0;
}

static PyObject *
threads_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (!takes_no_names("Threads", kwargs) || !PyArg_ParseTuple(args, ":Threads")) {
        return NULL;
    }
    PyObject *threads = PyDict_Type.tp_new(type, args, NULL);
    if (threads != NULL) {
        changed(threads);
    }
    return threads;
}

static PyMethodDef threads_methods[] = {
    {"pop", threads_pop, METH_VARARGS, "As that of a dict."},
    {"clear", threads_clear, METH_NOARGS, "As that of a dict."},
    {"popitem", threads_refuse, METH_VARARGS, "Not to be used."},
    {"setdefault", threads_refuse, METH_VARARGS, "Not to be used."},
    {"update", threads_refuse, METH_VARARGS, "Not to be used."},
    {NULL},
};

static PyType_Slot threads_slots[] = {
    {Py_tp_new, threads_new},
    {Py_tp_init, threads_init},
    {Py_nb_inplace_or, threads_refuse},
    {Py_mp_ass_subscript, threads_set},
    {Py_tp_methods, threads_methods},
    {0, NULL},
};

static PyType_Spec threads_spec = {
    .name = "pytest_truasync._detect._native.Threads",
    .basicsize = sizeof(Threads),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = threads_slots,
};

/* -- Gate */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *dict;
    PyObject *weakrefs;
    PyObject *threads;  /* Threads: number of a thread -> what is known of it while it is watched */
    PyObject *original;
    PyObject *wrapper;
    PyObject *ask[3];   /* what else tells that a call may pass; by kind */
} Gate;

/* Each kind has a question: 1 where the call may pass, 0 where it is the wrapper's, -1 on error.
   `watch` is what is known of the calling thread. */
typedef int (*question)(Gate *gate, PyObject *watch, PyObject *const *args, size_t nargsf,
                        PyObject *kwnames);

static inline PyObject *
pass(Gate *gate, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    return PyObject_Vectorcall(gate->original, args, nargsf, kwnames);
}

/* Look the calling thread up: 1 and a new reference where it is watched, else 0, or -1. */
static inline int
find_watch(Gate *gate, PyObject **watch)
{
    int found = PyDict_GET_SIZE(gate->threads) == 0 ? 0 : ask_here(gate->threads, watch);
    if (found > 0) {
        Py_INCREF(*watch);
    }
    return found;
}

static PyObject *
pass_or_wrap(Gate *gate, PyObject *const *args, size_t nargsf, PyObject *kwnames, question may_pass)
{
    PyObject *watch;
    int found = find_watch(gate, &watch);
    if (found > 0) {
        found = may_pass == NULL ? 0 : may_pass(gate, watch, args, nargsf, kwnames);
        Py_DECREF(watch);
        if (found == 0) {
            return PyObject_Vectorcall(gate->wrapper, args, nargsf, kwnames);
        }
    }
    return found < 0 ? NULL : pass(gate, args, nargsf, kwnames);
}

/* -- kind "plain", as `_wrap_trying`: straight to the original on threads that are not watched */

static PyObject *
gate_plain(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    return pass_or_wrap((Gate *)self, args, nargsf, kwnames, NULL);
}

/* -- kind "call", as `_wrap_call`: also inside a watched call (busy), or from the harness or an
   import, on a loop */

static int
is_nobodys(Gate *gate)
{
    PyFrameObject *frame = PyEval_GetFrame();
    if (frame == NULL) {
        return 0;
    }
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *role = PyDict_GetItemWithError(gate->ask[0], code->co_filename);
    Py_DECREF(code);
    if (role == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return role == gate->ask[1] || role == gate->ask[2];
}

static int
ask_call(Gate *gate, PyObject *watch, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *inside = read_slot(watch, &busy);
    if (inside == NULL) {
        return -1;
    }
    Py_DECREF(inside);
    if (inside == Py_True) {
        return 1;
    }
    PyObject *offloaded = read_slot(watch, &work);
    if (offloaded == NULL) {
        return -1;
    }
    Py_DECREF(offloaded);
    return offloaded == Py_None ? is_nobodys(gate) : 0;
}

static PyObject *
gate_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    return pass_or_wrap((Gate *)self, args, nargsf, kwnames, ask_call);
}

/* -- kind "lock", as `_wrap_lock`: a free one is taken at once */

static PyObject *
gate_lock(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Gate *gate = (Gate *)self;
    PyObject *watch;
    int found = find_watch(gate, &watch);
    if (found <= 0) {
        return found < 0 ? NULL : pass(gate, args, nargsf, kwnames);
    }
    Py_DECREF(watch);
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (kwnames == NULL && (nargs == 1 || (nargs == 2 && args[1] == Py_True))) {
        PyObject *try[] = {args[0], Py_False};
        PyObject *got = PyObject_Vectorcall(gate->ask[0], try, 2, NULL);
        if (got == NULL || got == Py_True) {
            return got;
        }
        Py_DECREF(got);
    }
    else if (kwnames == NULL && nargs == 2 && args[1] == Py_False) {
        return pass(gate, args, nargsf, kwnames);
    }
    return PyObject_Vectorcall(gate->wrapper, args, nargsf, kwnames);
}

/* -- kind "socket", as `_wrap_socket`: at timeout 0 it never waits */

static int
ask_socket(Gate *gate, PyObject *watch, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (PyVectorcall_NARGS(nargsf) == 0) {
        return 1; /* the original raises the TypeError */
    }
    PyObject *timeout = PyObject_CallOneArg(gate->ask[0], args[0]);
    if (timeout == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError)) {
            return -1;
        }
        PyErr_Clear();
        return 1;
    }
    int at_once = PyFloat_CheckExact(timeout) && PyFloat_AS_DOUBLE(timeout) == 0.0;
    Py_DECREF(timeout);
    return at_once;
}

static PyObject *
gate_socket(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    return pass_or_wrap((Gate *)self, args, nargsf, kwnames, ask_socket);
}

/* -- kind "poll", as `_wrap_polling`: without waiting, until it is of use to say again that the loop came round; and
   where the loop waits for its events, which is then on record */

/* Tell whether the calling thread asks for the events of its loop: `ThreadWatch.poller` is the code that does. */
static int
asks_for_events(PyObject *watch)
{
    PyObject *asks = read_slot(watch, &poller);
    if (asks == NULL) {
        return -1;
    }
    Py_DECREF(asks); /* compared only */
    PyFrameObject *frame = asks == Py_None ? NULL : PyEval_GetFrame();
    if (frame == NULL) {
        return 0;
    }
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    Py_DECREF(code);
    PyFrameObject *above = code == asks ? NULL : PyFrame_GetBack(frame);
    if (above != NULL) {
        code = (PyObject *)PyFrame_GetCode(above);
        Py_DECREF(code);
        Py_DECREF(above);
    }
    return code == asks;
}

/* Tell whether it is of use to say that the loop came round: 1 and the time, else 0, or -1. */
static int
is_due(Gate *gate, PyObject *watch, PyObject **now)
{
    PyObject *renew = read_slot(watch, &renew_ns);
    if (renew == NULL) {
        return -1;
    }
    long long due_ns = PyLong_AsLongLong(renew), now_ns;
    Py_DECREF(renew);
    if (due_ns == -1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return -1;
        }
        PyErr_Clear(); /* for ever */
        return 0;
    }
#ifdef __linux__
    if (gate->ask[0] == perf_counter_ns) { /* the same without an object for the answer */
        now_ns = monotonic_ns();
        *now = now_ns < due_ns ? NULL : PyLong_FromLongLong(now_ns);
        return now_ns < due_ns ? 0 : *now == NULL ? -1 : 1;
    }
#endif
    *now = PyObject_CallNoArgs(gate->ask[0]);
    now_ns = *now == NULL ? -1 : PyLong_AsLongLong(*now);
    int due = now_ns == -1 && PyErr_Occurred() ? -1 : now_ns >= due_ns;
    if (due <= 0) {
        Py_CLEAR(*now);
    }
    return due;
}

static PyObject *
park(Gate *gate, PyObject *watch, PyObject *const *args, size_t nargsf)
{
    if (PyObject_SetAttr(watch, str_parked, Py_True) < 0) {
        return NULL;
    }
    ((Threads *)gate->threads)->parked++;
    PyObject *result = pass(gate, args, nargsf, NULL);
    ((Threads *)gate->threads)->parked--;
    PyObject *type, *error, *traceback, *now;
    PyErr_Fetch(&type, &error, &traceback);
    int failed = PyObject_SetAttr(watch, str_parked, Py_False) < 0;
    if (!failed) {
        int due = is_due(gate, watch, &now);
        failed = due < 0;
        if (due > 0) {
            PyObject *done = PyObject_CallFunctionObjArgs(gate->ask[1], watch, now, NULL);
            failed = done == NULL;
            Py_XDECREF(done);
            Py_DECREF(now);
        }
    }
    if (type != NULL) { /* the call's own error is what counts */
        PyErr_Restore(type, error, traceback);
    }
    else if (failed) {
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *
gate_poll(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Gate *gate = (Gate *)self;
    PyObject *watch, *now, *result = NULL;
    int watched = find_watch(gate, &watch);
    if (watched <= 0) {
        return watched < 0 ? NULL : pass(gate, args, nargsf, kwnames);
    }
    enum { FAIL, PASS, PARK, WRAP } way = WRAP;
    if (kwnames == NULL && PyVectorcall_NARGS(nargsf) >= 2) {
        PyObject *timeout = args[1];
        int at_once = PyLong_Check(timeout)
                          ? !PyObject_IsTrue(timeout)
                          : PyFloat_CheckExact(timeout) && PyFloat_AS_DOUBLE(timeout) == 0.0;
        if (at_once) {
            int due = is_due(gate, watch, &now);
            way = due < 0 ? FAIL : due ? WRAP : PASS;
            if (due > 0) {
                Py_DECREF(now);
            }
        }
        else {
            PyObject *call = read_slot(watch, &call_now);
            int asks = call == NULL ? -1 : call == Py_None ? asks_for_events(watch) : 0;
            way = asks < 0 ? FAIL : asks ? PARK : WRAP;
            Py_XDECREF(call);
        }
    }
    switch (way) {
    case FAIL:
        break;
    case PASS:
        result = pass(gate, args, nargsf, kwnames);
        break;
    case PARK:
        result = park(gate, watch, args, nargsf);
        break;
    case WRAP:
        result = PyObject_Vectorcall(gate->wrapper, args, nargsf, kwnames);
    }
    Py_DECREF(watch);
    return result;
}

/* -- the type */

static const struct {
    const char *name;
    vectorcallfunc call;
    Py_ssize_t asks;
} kinds[] = {
    {"plain", gate_plain, 0},   {"call", gate_call, 3}, {"lock", gate_lock, 1},
    {"socket", gate_socket, 1}, {"poll", gate_poll, 2},
};

static PyObject *
gate_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    const char *kind;
    PyObject *threads, *original, *wrapper, *ask[] = {Py_None, Py_None, Py_None};
    if (!takes_no_names("Gate", kwargs)) {
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "sO!OO|OOO:Gate", &kind, &PyDict_Type, &threads, &original,
                          &wrapper, &ask[0], &ask[1], &ask[2])) {
        return NULL;
    }
    if (!is_threads(threads)) {
        PyErr_SetString(PyExc_TypeError, "a gate asks Threads, not another dict");
        return NULL;
    }
    vectorcallfunc call = NULL;
    Py_ssize_t asks = 0;
    for (size_t each = 0; each < Py_ARRAY_LENGTH(kinds); each++) {
        if (strcmp(kind, kinds[each].name) == 0) {
            call = kinds[each].call;
            asks = kinds[each].asks;
        }
    }
    if (call == NULL) {
        PyErr_Format(PyExc_ValueError, "no gate of the kind '%s'", kind);
        return NULL;
    }
    if (PyTuple_GET_SIZE(args) != 4 + asks || (call == gate_call && !PyDict_Check(ask[0]))) {
        PyErr_Format(PyExc_TypeError, "not what a gate of the kind '%s' asks", kind);
        return NULL;
    }
    Gate *gate = (Gate *)type->tp_alloc(type, 0);
    if (gate == NULL) {
        return NULL;
    }
    gate->vectorcall = call;
    gate->threads = Py_NewRef(threads);
    gate->original = Py_NewRef(original);
    gate->wrapper = Py_NewRef(wrapper);
    for (size_t each = 0; each < Py_ARRAY_LENGTH(ask); each++) {
        gate->ask[each] = Py_NewRef(ask[each]);
    }
    return (PyObject *)gate;
}

static int
gate_traverse(Gate *gate, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(gate));
    Py_VISIT(gate->dict);
    Py_VISIT(gate->threads);
    Py_VISIT(gate->original);
    Py_VISIT(gate->wrapper);
    for (size_t each = 0; each < Py_ARRAY_LENGTH(gate->ask); each++) {
        Py_VISIT(gate->ask[each]);
    }
    return 0;
}

/* What a gate needs to be called stays: a thread may be in it. */
static int
gate_clear(Gate *gate)
{
    Py_CLEAR(gate->dict);
    return 0;
}

static void
gate_dealloc(Gate *gate)
{
    PyTypeObject *type = Py_TYPE(gate);
    PyObject_GC_UnTrack(gate);
    if (gate->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)gate);
    }
    gate_clear(gate);
    Py_XDECREF(gate->threads);
    Py_XDECREF(gate->original);
    Py_XDECREF(gate->wrapper);
    for (size_t each = 0; each < Py_ARRAY_LENGTH(gate->ask); each++) {
        Py_XDECREF(gate->ask[each]);
    }
    type->tp_free(gate);
    Py_DECREF(type);
}

static PyObject *
gate_get(PyObject *gate, PyObject *instance, PyObject *owner)
{
    return instance == NULL || instance == Py_None ? Py_NewRef(gate) : PyMethod_New(gate, instance);
}

static PyObject *
gate_repr(Gate *gate)
{
    return PyObject_Repr(gate->original);
}

static PyObject *
gate_reduce(PyObject *gate, PyObject *unused)
{
    return PyObject_GetAttrString(gate, "__qualname__");
}

static PyMethodDef gate_methods[] = {
    {"__reduce__", gate_reduce, METH_NOARGS, "Pickled by its name, as a function is."},
    {NULL},
};

static PyMemberDef gate_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Gate, vectorcall), READONLY},
    {"__dictoffset__", T_PYSSIZET, offsetof(Gate, dict), READONLY},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Gate, weakrefs), READONLY},
    {NULL},
};

static PyGetSetDef gate_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {NULL},
};

static PyType_Slot gate_slots[] = {
    {Py_tp_new, gate_new},
    {Py_tp_dealloc, gate_dealloc},
    {Py_tp_traverse, gate_traverse},
    {Py_tp_clear, gate_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, gate_get},
    {Py_tp_repr, gate_repr},
    {Py_tp_methods, gate_methods},
    {Py_tp_members, gate_members},
    {Py_tp_getset, gate_getset},
    {0, NULL},
};

static PyType_Spec gate_spec = {
    .name = "pytest_truasync._detect._native.Gate",
    .basicsize = sizeof(Gate),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = gate_slots,
};

/* -- the C code of a builtin that runs what stands in its module's place, see patches.py */

static PyObject *
call_stand(PyObject *stand, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *function = read_slot(stand, &stands_for);
    if (function == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_Vectorcall(function, args, (size_t)nargs, kwnames);
    Py_DECREF(function);
    return result;
}

/* -- what patches.py puts in places that Python cannot write to; its partner is by_address.py */

/* make_twin(name, text, stand, module): a builtin that runs what the stand holds */
static PyObject *
make_twin(PyObject *unused, PyObject *args)
{
    const char *name, *text;
    PyObject *stand, *module;
    if (!PyArg_ParseTuple(args, "szOO:make_twin", &name, &text, &stand, &module)) {
        return NULL;
    }
    size_t names = strlen(name) + 1, texts = text == NULL ? 0 : strlen(text) + 1;
    PyMethodDef *definition = PyMem_Malloc(sizeof(PyMethodDef) + names + texts);
    if (definition == NULL) {
        return PyErr_NoMemory();
    }
    char *kept = (char *)(definition + 1);
    memcpy(kept, name, names);
    if (text != NULL) {
        memcpy(kept + names, text, texts);
    }
    definition->ml_name = kept;
    definition->ml_meth = (PyCFunction)(void (*)(void))call_stand;
    definition->ml_flags = METH_FASTCALL | METH_KEYWORDS;
    definition->ml_doc = text == NULL ? NULL : kept + names;
    return PyCFunction_NewEx(definition, stand, module); /* its definition is never freed */
}

/* set_on_type(type, name[, value]): as setattr, or delattr without a value, of immutable types, too */
static PyObject *
set_on_type(PyObject *unused, PyObject *args)
{
    PyTypeObject *type;
    PyObject *name, *value = NULL;
    if (!PyArg_ParseTuple(args, "O!U|O:set_on_type", &PyType_Type, &type, &name, &value)) {
        return NULL;
    }
    unsigned long fixed = type->tp_flags & Py_TPFLAGS_IMMUTABLETYPE;
    type->tp_flags &= ~Py_TPFLAGS_IMMUTABLETYPE;
    int failed = PyObject_SetAttr((PyObject *)type, name, value) < 0;
    type->tp_flags |= fixed;
    if (failed) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- a set of addresses, to ask for each of very many objects whether it is one of a few */

typedef struct {
    void **slots; /* open addressing; NULL where free */
    size_t mask;
} Addresses;

static size_t
place_of(Addresses *known, void *address)
{
    size_t at = ((uintptr_t)address >> 4) * (size_t)0x9E3779B97F4A7C15u >> 7;
    for (at &= known->mask; known->slots[at] != NULL && known->slots[at] != address;) {
        at = (at + 1) & known->mask;
    }
    return at;
}

/* holders(dicts, numbers): those of the dicts, by index, with a value that is one of the objects
   whose numbers are the keys of the other dict; as `holders_in_python` of calls.py */
static PyObject *
holders(PyObject *unused, PyObject *args)
{
    PyObject *dicts, *numbers, *key, *value, *found = NULL;
    if (!PyArg_ParseTuple(args, "O!O!:holders", &PyList_Type, &dicts, &PyDict_Type, &numbers)) {
        return NULL;
    }
    Addresses known = {NULL, 63};
    while (known.mask < 4 * (size_t)PyDict_GET_SIZE(numbers)) {
        known.mask = known.mask * 2 + 1;
    }
    known.slots = PyMem_Calloc(known.mask + 1, sizeof(void *));
    if (known.slots == NULL) {
        return PyErr_NoMemory();
    }
    Py_ssize_t next = 0;
    while (PyDict_Next(numbers, &next, &key, &value)) {
        void *address = PyLong_AsVoidPtr(key);
        if (address == NULL && PyErr_Occurred()) {
            goto end;
        }
        known.slots[place_of(&known, address)] = address;
    }
    found = PyList_New(0);
    for (Py_ssize_t each = 0; found != NULL && each < PyList_GET_SIZE(dicts); each++) {
        PyObject *dict = PyList_GET_ITEM(dicts, each);
        int holds = 0;
        next = 0;
        while (!holds && PyDict_Check(dict) && PyDict_Next(dict, &next, &key, &value)) {
            holds = known.slots[place_of(&known, value)] != NULL;
        }
        PyObject *index = holds ? PyLong_FromSsize_t(each) : NULL;
        if (holds && (index == NULL || PyList_Append(found, index) < 0)) {
            Py_CLEAR(found);
        }
        Py_XDECREF(index);
    }
end:
    PyMem_Free(known.slots);
    return found;
}

/* -- small files of the system's. With the GIL held, which `os.read` would let go of: what is read
   stays of one moment, no thread can meddle with the descriptor, no audit hook hears of it. */

#ifdef __linux__

/* read_file(path): the first bytes of a file; none where it cannot be read */
static PyObject *
read_file(PyObject *unused, PyObject *path)
{
    char text[300];
    ssize_t length = 0;
    if (!PyBytes_Check(path)) {
        PyErr_SetString(PyExc_TypeError, "read_file(path: bytes)");
        return NULL;
    }
    int file = open(PyBytes_AS_STRING(path), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        length = read(file, text, sizeof(text));
        close(file);
    }
    return PyBytes_FromStringAndSize(text, length < 0 ? 0 : length);
}

/* open_high(path, lowest): open a file, at a number from the lowest on; -1 where it cannot be done */
static PyObject *
open_high(PyObject *unused, PyObject *args)
{
    const char *path;
    int lowest;
    if (!PyArg_ParseTuple(args, "yi:open_high", &path, &lowest)) {
        return NULL;
    }
    int file = open(path, O_RDONLY | O_CLOEXEC), kept = -1;
    if (file >= 0) {
        kept = fcntl(file, F_DUPFD_CLOEXEC, lowest);
        close(file);
    }
    return PyLong_FromLong(kept);
}

/* read_queue(file): what the `schedstat` of a thread tells that is open, wherever others have got to in it: how long the
   thread stood in the queue for a processor, and how often it got one; None where it is another file */
static PyObject *
read_queue(PyObject *unused, PyObject *number)
{
    char text[100], end;
    long long ran, delay, turns;
    long file = PyLong_AsLong(number);
    if (file == -1 && PyErr_Occurred()) {
        return NULL;
    }
    ssize_t length = pread((int)file, text, sizeof(text) - 1, 0);
    text[length < 0 ? 0 : length] = 0;
    if (sscanf(text, "%lld %lld %lld %c", &ran, &delay, &turns, &end) != 3) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(LL)", delay, turns);
}

/* thread_clocks(): of the calling thread: CPU time, that of the process, how often it went to sleep, and the number of
   its CPU clock */
static PyObject *
thread_clocks(PyObject *unused, PyObject *nothing)
{
    struct rusage usage;
    clockid_t clock;
    int64_t cpu = time_of(CLOCK_THREAD_CPUTIME_ID), process = time_of(CLOCK_PROCESS_CPUTIME_ID);
    getrusage(RUSAGE_THREAD, &usage);
    int failed = pthread_getcpuclockid(pthread_self(), &clock);
    if (failed) {
        errno = failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("(LLli)", (long long)cpu, (long long)process, usage.ru_nvcsw, (int)clock);
}

#endif

/* -- walks of stacks: each frame is some twenty bytecodes in Python, here a few calls */

static PyObject * /* borrowed */
role_of(PyObject *roles, PyObject *filename)
{
    PyObject *role = PyDict_GetItemWithError(roles, filename);
    if (role == NULL && !PyErr_Occurred()) {
        role = PyObject_GetItem(roles, filename); /* which keeps it */
        Py_XDECREF(role);
    }
    return role;
}

typedef struct {
    PyObject_HEAD
    PyObject *tasks;     /* dict: hash of a task -> its origin, see LoopProbe */
    PyObject *landmarks; /* dict: name of a file -> its role, or None for no landmark */
    PyObject *user, *loop, *quiet;
    PyObject *calling_back, *runners; /* sets of names of functions */
    PyObject *endings;                /* tuple of codes of coroutines that tell nothing */
    PyObject *guest;                  /* `task` of it is what trio runs in the calling thread */
} TaskNoter;

/* Find the innermost of the user's frames, up to the loop's callback; takes `frame` over.
   1 where there is one, 0 where there is none, -1 on error. */
static int
walk(TaskNoter *noter, PyFrameObject *frame, PyFrameObject **found)
{
    int in_loop = 1, ended = 0;
    while (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        PyObject *role = role_of(noter->landmarks, code->co_filename);
        if (role == NULL) {
            ended = -1;
        }
        else if (in_loop && role == noter->loop) {
            ended = PySet_Contains(noter->calling_back, code->co_name);
        }
        else {
            in_loop = 0;
            if (role == noter->user) {
                Py_DECREF(code);
                *found = frame;
                return 1;
            }
            if (role == noter->quiet) {
                ended = 1;
            }
            else if (role != Py_None) {
                ended = PySet_Contains(noter->runners, code->co_name);
            }
        }
        Py_DECREF(code);
        PyFrameObject *back = ended ? NULL : PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    return ended < 0 ? -1 : 0;
}

/* Return the key of a task in `tasks`, its hash. */
static PyObject *
number_of(PyObject *task)
{
    Py_hash_t hash = PyObject_Hash(task);
    return hash == -1 ? NULL : PyLong_FromSsize_t(hash);
}

/* Look up the user's line that made a task: 1 and new references, 0 where none is known, or -1. */
static int
origin_of(PyObject *tasks, PyObject *task, PyObject **code, PyObject **instruction)
{
    PyObject *number = number_of(task);
    if (number == NULL) {
        return -1;
    }
    PyObject *known = PyDict_GetItemWithError(tasks, number);
    Py_DECREF(number);
    if (known == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *one = PyObject_CallNoArgs(PyTuple_GET_ITEM(known, 0));
    if (one != task) { /* another one that stood in the same place */
        Py_XDECREF(one);
        return one == NULL ? -1 : 0;
    }
    Py_DECREF(one);
    *code = Py_NewRef(PyTuple_GET_ITEM(known, 1));
    *instruction = Py_NewRef(PyTuple_GET_ITEM(known, 2));
    return 1;
}

static int
note(PyObject *tasks, PyObject *task, PyObject *code, PyObject *instruction)
{
    PyObject *ref = PyWeakref_NewRef(task, NULL);
    PyObject *entry = ref == NULL ? NULL : PyTuple_Pack(3, ref, code, instruction);
    Py_XDECREF(ref);
    PyObject *number = entry == NULL ? NULL : number_of(task);
    int noted = number == NULL ? -1 : PyDict_SetItem(tasks, number, entry);
    Py_XDECREF(number);
    Py_XDECREF(entry);
    return noted;
}

/* Tell whether the coroutine of a new task says by itself all that its line could. */
static int
tells_itself(TaskNoter *noter, PyObject *coroutine)
{
    PyObject *code = PyObject_GetAttr(coroutine, str_cr_code);
    if (code == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    int tells = 0;
    for (Py_ssize_t each = 0; each < PyTuple_GET_SIZE(noter->endings); each++) {
        tells |= code == PyTuple_GET_ITEM(noter->endings, each);
    }
    if (!tells && PyCode_Check(code)) {
        PyObject *role = role_of(noter->landmarks, ((PyCodeObject *)code)->co_filename);
        tells = role == NULL ? -1 : role == noter->user;
    }
    Py_DECREF(code);
    return tells;
}

/* Return the task that runs in `loop`, or else in the guest's, a new reference: None where there is none or it cannot
   be told, NULL on error. */
static PyObject *
running_task(TaskNoter *noter, PyObject *current_task, PyObject *loop)
{
    PyObject *task = loop == NULL ? Py_NewRef(Py_None) : PyObject_CallOneArg(current_task, loop);
    if (task == Py_None && noter->guest != NULL && noter->guest != Py_None) {
        Py_DECREF(task);
        task = PyObject_GetAttr(noter->guest, str_task);
    }
    if (task == NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        task = Py_NewRef(Py_None);
    }
    return task;
}

/* Note the user's line that made a task, above `frame`, which is taken over. Where there is none it is that of the
   task's maker: `maker`, or what runs in `loop` where it is NULL. 0, or -1 on error. */
static int
note_made(TaskNoter *noter, PyObject *task, PyObject *coroutine, PyFrameObject *frame,
          PyObject *maker, PyObject *current_task, PyObject *loop)
{
    PyFrameObject *found = NULL;
    PyObject *code = NULL, *instruction = NULL;
    int done = tells_itself(noter, coroutine);
    if (done != 0) {
        Py_XDECREF(frame);
        goto end;
    }
    done = walk(noter, frame, &found);
    if (done > 0) {
        code = (PyObject *)PyFrame_GetCode(found);
        instruction = PyLong_FromLong(PyFrame_GetLasti(found));
        done = instruction == NULL ? -1 : 1;
        Py_DECREF(found);
    }
    else if (done == 0 && PyDict_GET_SIZE(noter->tasks) != 0) {
        maker = maker != NULL ? Py_NewRef(maker) : running_task(noter, current_task, loop);
        done = maker == NULL ? -1 : maker == Py_None ? 0 : origin_of(noter->tasks, maker, &code, &instruction);
        Py_XDECREF(maker);
    }
    if (done > 0) {
        done = note(noter->tasks, task, code, instruction);
    }
    Py_XDECREF(code);
    Py_XDECREF(instruction);
end:
    if (done < 0) { /* a task of a kind that cannot be noted; lines are lost */
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear();
    }
    return 0;
}

/* note(task, coroutine, maker), called by what makes a task */
static PyObject *
note_task(TaskNoter *noter, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "note(task, coroutine, maker)");
        return NULL;
    }
    PyFrameObject *wrapper = PyEval_GetFrame();
    PyFrameObject *above = wrapper == NULL ? NULL : PyFrame_GetBack(wrapper);
    if (note_made(noter, args[0], args[1], above, args[2], NULL, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
noter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *tasks, *landmarks, *user, *loop, *quiet, *calling_back, *runners, *endings;
    if (!takes_no_names("TaskNoter", kwargs)) {
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!O!O!OOOO!O!:TaskNoter", &PyDict_Type, &tasks, &PyTuple_Type,
                          &endings, &PyDict_Type, &landmarks, &user, &loop, &quiet,
                          &PyFrozenSet_Type, &calling_back, &PyFrozenSet_Type, &runners)) {
        return NULL;
    }
    TaskNoter *noter = (TaskNoter *)type->tp_alloc(type, 0);
    if (noter == NULL) {
        return NULL;
    }
    noter->tasks = Py_NewRef(tasks);
    noter->landmarks = Py_NewRef(landmarks);
    noter->user = Py_NewRef(user);
    noter->loop = Py_NewRef(loop);
    noter->quiet = Py_NewRef(quiet);
    noter->calling_back = Py_NewRef(calling_back);
    noter->runners = Py_NewRef(runners);
    noter->endings = Py_NewRef(endings);
    return (PyObject *)noter;
}

static int
noter_traverse(TaskNoter *noter, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(noter));
    Py_VISIT(noter->tasks);
    Py_VISIT(noter->landmarks); /* the others hold nothing; what breaks a cycle is the dict */
    return 0;
}

static void
noter_dealloc(TaskNoter *noter)
{
    PyTypeObject *type = Py_TYPE(noter);
    PyObject_GC_UnTrack(noter);
    Py_XDECREF(noter->tasks);
    Py_XDECREF(noter->landmarks);
    Py_XDECREF(noter->user);
    Py_XDECREF(noter->loop);
    Py_XDECREF(noter->quiet);
    Py_XDECREF(noter->calling_back);
    Py_XDECREF(noter->runners);
    Py_XDECREF(noter->endings);
    Py_XDECREF(noter->guest);
    type->tp_free(noter);
    Py_DECREF(type);
}

static PyMethodDef noter_methods[] = {
    {"note", (PyCFunction)(void (*)(void))note_task, METH_FASTCALL,
     "Note the user's line that made a task, above the calling function."},
    {NULL},
};

static PyMemberDef noter_members[] = {
    {"guest", T_OBJECT, offsetof(TaskNoter, guest), 0},
    {NULL},
};

static PyType_Slot noter_slots[] = {
    {Py_tp_new, noter_new},
    {Py_tp_dealloc, noter_dealloc},
    {Py_tp_traverse, noter_traverse},
    {Py_tp_methods, noter_methods},
    {Py_tp_members, noter_members},
    {0, NULL},
};

static PyType_Spec noter_spec = {
    .name = "pytest_truasync._detect._native.TaskNoter",
    .basicsize = sizeof(TaskNoter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = noter_slots,
};

/* -- an alarm that can be put off again and again: its thread wakes to see that without the GIL */

#ifdef __linux__

#define NEVER INT64_MAX
#define MOST_SPARED 50

typedef struct {
    PyObject_HEAD
    pthread_mutex_t mutex; /* of what follows; held for a few instructions only */
    pthread_cond_t moved;
    int64_t due;   /* when it is to ring; NEVER until it is set. What is due cannot be put off */
    int64_t until; /* for how long its thread sleeps; -1 while it is awake */
    long switches; /* how often its thread had gone to sleep when it rang last */
    Threads *threads;  /* while all of them are parked it puts itself off; NULL: it does not */
    int64_t tick;      /* for so long each time */
    int spared;        /* how often it has done so since it was set */
    int64_t postponed; /* for how long in all, since it was set */
} Alarm;

/* Move the time when it is to ring. */
static void
move_alarm(Alarm *alarm, int64_t pause_ns)
{
    int64_t now = monotonic_ns();
    pthread_mutex_lock(&alarm->mutex);
    if (alarm->due > now) {
        alarm->due = pause_ns <= 0 ? now : pause_ns < NEVER - now ? now + pause_ns : NEVER;
        alarm->spared = 0;
    }
    if (pause_ns <= 0) {
        alarm->spared = MOST_SPARED; /* its thread is called, whoever is parked */
    }
    alarm->postponed = 0; /* also of what is due: who set it plans anew */
    if (alarm->due < alarm->until) {
        pthread_cond_signal(&alarm->moved);
    }
    pthread_mutex_unlock(&alarm->mutex);
}

#if PY_VERSION_HEX >= 0x030C0000 /* there are lanes */

/* The same, for who knows nothing of when it was to ring: it counts as put off by itself. 0 if it sleeps for ever. */
static int
push_alarm(Alarm *alarm, int64_t pause_ns)
{
    int64_t now = monotonic_ns();
    pthread_mutex_lock(&alarm->mutex);
    int set = alarm->due != NEVER;
    if (set && alarm->due > now && now + pause_ns > alarm->due) {
        alarm->postponed += now + pause_ns - alarm->due;
        alarm->due = now + pause_ns;
        alarm->spared = 0;
    }
    pthread_mutex_unlock(&alarm->mutex);
    return set;
}

#endif

static PyObject *
alarm_set(Alarm *alarm, PyObject *pause)
{
    long long pause_ns = PyLong_AsLongLong(pause);
    if (pause_ns == -1 && PyErr_Occurred()) {
        return NULL;
    }
    move_alarm(alarm, pause_ns);
    Py_RETURN_NONE;
}

/* Tell whether nobody need look, for now: all threads are parked. Without the GIL, so that it may be wrong for a moment:
   of a thread that has just come back there is something to see a tick later. */
static int
can_be_spared(Alarm *alarm)
{
    const volatile Py_ssize_t *parked = alarm->threads == NULL ? NULL : &alarm->threads->parked;
    return parked != NULL && *parked > 0 && alarm->spared < MOST_SPARED
           && *parked >= *(const volatile Py_ssize_t *)&alarm->threads->dict.ma_used;
}

static PyObject *
alarm_wait(Alarm *alarm, PyObject *unused)
{
    struct rusage usage;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&alarm->mutex);
    for (;;) {
        int64_t now = monotonic_ns();
        if (alarm->due <= now) {
            if (!can_be_spared(alarm)) {
                break;
            }
            alarm->spared++;
            alarm->postponed += now + alarm->tick - alarm->due;
            alarm->due = now + alarm->tick;
        }
        int64_t until = alarm->until = alarm->due;
        if (until == NEVER) {
            pthread_cond_wait(&alarm->moved, &alarm->mutex);
        }
        else {
            struct timespec at = {until / 1000000000, until % 1000000000};
            pthread_cond_timedwait(&alarm->moved, &alarm->mutex, &at);
        }
        alarm->until = -1;
    }
    alarm->due = NEVER;
    pthread_mutex_unlock(&alarm->mutex);
    getrusage(RUSAGE_THREAD, &usage);
    alarm->switches = usage.ru_nvcsw;
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
alarm_close(Alarm *alarm, PyObject *unused)
{
    Py_RETURN_NONE;
}

static PyObject *
alarm_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *threads = NULL;
    long long tick = 0;
    if (!takes_no_names("Alarm", kwargs) || !PyArg_ParseTuple(args, "|OL:Alarm", &threads, &tick)) {
        return NULL;
    }
    if (threads != NULL && (!is_threads(threads) || tick <= 0)) {
        PyErr_SetString(PyExc_TypeError, "Alarm(threads: Threads, tick_ns: int)");
        return NULL;
    }
    Alarm *alarm = (Alarm *)type->tp_alloc(type, 0);
    if (alarm == NULL) {
        return NULL;
    }
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&alarm->moved, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&alarm->mutex, NULL);
    alarm->due = NEVER;
    alarm->until = -1;
    alarm->threads = (Threads *)Py_XNewRef(threads); /* which holds no alarm */
    alarm->tick = tick;
    return (PyObject *)alarm;
}

/* Who waits holds it, also where a fork has left the waiting thread behind. */
static void
alarm_dealloc(Alarm *alarm)
{
    PyTypeObject *type = Py_TYPE(alarm);
    pthread_cond_destroy(&alarm->moved);
    pthread_mutex_destroy(&alarm->mutex);
    Py_XDECREF(alarm->threads);
    type->tp_free(alarm);
    Py_DECREF(type);
}

static PyMethodDef alarm_methods[] = {
    {"set", (PyCFunction)alarm_set, METH_O,
     "Ring so many nanoseconds from now, not when it was to ring before."},
    {"wait", (PyCFunction)alarm_wait, METH_NOARGS, "Sleep until it rings; for one thread."},
    {"close", (PyCFunction)alarm_close, METH_NOARGS, "Do nothing: it keeps nothing of the system's."},
    {NULL},
};

static PyMemberDef alarm_members[] = {
    {"switches", T_LONG, offsetof(Alarm, switches), READONLY},
    {"postponed_ns", T_LONGLONG, offsetof(Alarm, postponed), READONLY},
    {NULL},
};

static PyType_Slot alarm_slots[] = {
    {Py_tp_new, alarm_new},
    {Py_tp_dealloc, alarm_dealloc},
    {Py_tp_methods, alarm_methods},
    {Py_tp_members, alarm_members},
    {0, NULL},
};

static PyType_Spec alarm_spec = {
    .name = "pytest_truasync._detect._native.Alarm",
    .basicsize = sizeof(Alarm),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = alarm_slots,
};

#endif /* __linux__ */

/* -- Lanes: a wrapper that is a function in Python stays the function that it is, and what it would do most often is
   done before a frame is made for it. Whatever a lane is not sure of runs the function. From CPython 3.12 on, which
   asks a function for its `vectorcall`; before, the function runs each time. */

#if PY_VERSION_HEX >= 0x030C0000

typedef struct {
    PyObject_HEAD
    PyObject *original;
    PyObject *asks; /* tuple; by kind */
} Lane;

static vectorcallfunc run_function; /* of a function that has no lane */

static void
lane_dealloc(Lane *lane)
{
    PyTypeObject *type = Py_TYPE(lane);
    PyObject_GC_UnTrack(lane);
    Py_XDECREF(lane->original);
    Py_XDECREF(lane->asks);
    type->tp_free(lane);
    Py_DECREF(type);
}

/* Return the lane of a function, borrowed: its dict holds it, so that the two go together. */
static inline Lane *
lane_of(PyObject *function)
{
    PyObject *dict = ((PyFunctionObject *)function)->func_dict;
    PyObject *lane = dict == NULL ? NULL : PyDict_GetItemWithError(dict, str_lane);
    /* Not its type: another import of this module has made another one. */
    if (lane != NULL && Py_TYPE(lane)->tp_dealloc == (destructor)lane_dealloc) {
        return (Lane *)lane;
    }
    PyErr_Clear(); /* somebody has emptied the dict */
    return NULL;
}

#define ASK(lane, each) PyTuple_GET_ITEM((lane)->asks, each)

/* In debug mode tasks and handles tell where they were made: hand what was made to `without_us`. */
static int
trace_without_us(PyObject *made, PyObject *clean)
{
    PyObject *trace = PyObject_GetAttr(made, str_source_traceback);
    if (trace == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    int told = trace == Py_None ? 0 : PyObject_IsTrue(trace);
    Py_DECREF(trace);
    if (told > 0) {
        PyObject *same = PyObject_CallOneArg(clean, made);
        told = same == NULL ? -1 : 0;
        Py_XDECREF(same);
    }
    return told;
}

/* -- kind "answer", as `_watch_answers`: not from offloaded work; asks: threads, without_us */

static PyObject *
lane_answer(PyObject *function, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    enum { THREADS, WITHOUT_US };
    Lane *lane = lane_of(function);
    PyObject *watch;
    int found = lane == NULL ? 0 : ask_here(ASK(lane, THREADS), &watch);
    if (found < 0) {
        return NULL;
    }
    if (lane == NULL || PyVectorcall_NARGS(nargsf) == 0
        || (found && slot_is(watch, &work, Py_None) != 1)) {
        PyErr_Clear();
        return run_function(function, args, nargsf, kwnames);
    }
    Py_INCREF(lane);
    PyObject *handle = PyObject_Vectorcall(lane->original, args, nargsf, kwnames);
    if (handle != NULL && trace_without_us(handle, ASK(lane, WITHOUT_US)) < 0) {
        Py_CLEAR(handle);
    }
    Py_DECREF(lane);
    return handle;
}

/* -- kind "task", as `_watch_tasks`; asks: the noter, `current_task`, without_us.
   -- kind "spawn", as `_watch_trio`, of whose tasks the coroutine is an attribute; asks: the noter */

enum { NOTER, CURRENT_TASK, TASK_WITHOUT_US };

static PyObject *
lane_task(PyObject *function, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Lane *lane = lane_of(function);
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (lane == NULL || nargs == 0) {
        return run_function(function, args, nargsf, kwnames);
    }
    Py_INCREF(lane);
    PyObject *loop = Py_NewRef(args[0]), *coroutine = Py_NewRef(nargs > 1 ? args[1] : Py_None);
    PyObject *task = PyObject_Vectorcall(lane->original, args, nargsf, kwnames);
    if (task != NULL) {
        PyFrameObject *caller = (PyFrameObject *)Py_XNewRef(PyEval_GetFrame());
        TaskNoter *noter = (TaskNoter *)ASK(lane, NOTER);
        if (note_made(noter, task, coroutine, caller, NULL, ASK(lane, CURRENT_TASK), loop) < 0
            || trace_without_us(task, ASK(lane, TASK_WITHOUT_US)) < 0) {
            Py_CLEAR(task);
        }
    }
    Py_DECREF(loop);
    Py_DECREF(coroutine);
    Py_DECREF(lane);
    return task;
}

static PyObject *
lane_spawn(PyObject *function, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Lane *lane = lane_of(function);
    if (lane == NULL) {
        return run_function(function, args, nargsf, kwnames);
    }
    Py_INCREF(lane);
    PyObject *task = PyObject_Vectorcall(lane->original, args, nargsf, kwnames);
    PyObject *coroutine = task == NULL ? NULL : PyObject_GetAttr(task, str_coro);
    if (coroutine == NULL) {
        Py_CLEAR(task);
    }
    else {
        PyFrameObject *caller = (PyFrameObject *)Py_XNewRef(PyEval_GetFrame());
        TaskNoter *noter = (TaskNoter *)ASK(lane, NOTER);
        if (note_made(noter, task, coroutine, caller, NULL, NULL, NULL) < 0) {
            Py_CLEAR(task);
        }
        Py_DECREF(coroutine);
    }
    Py_DECREF(lane);
    return task;
}

/* -- kind "loop", as `_running_loop_setter`: where a thread that nobody watches takes up a loop of the kind that it had
   a moment ago, or one of asyncio's while it is young, and where it leaves one that nobody looks at; asks: what enters,
   what leaves, `_Here`, the `Watch`, its threads, the tasks, how many of them are few, and what `enter_young` needs */

enum { ENTER, LEAVE, HERE, WATCHES, LOOP_THREADS, TASKS, FEW, LOOP_TYPE, ROUND, PROTOTYPE, DEBUGGING_TOOL, BEGUN,
       YOUNG_NS, LOOP_ASKS };

/* Return an attribute as a number, or -1: what cannot be read is Python's to judge. */
static long long
number_in(PyObject *object, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(object, name);
    long long number = value == NULL ? -1 : PyLong_AsLongLong(value);
    Py_XDECREF(value);
    return number;
}

/* Tell whether an attribute is true; 1 where it cannot be read. */
static int
is_set(PyObject *object, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(object, name);
    int set = value == NULL ? 1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    return set != 0;
}

/* Put what is known of the calling thread in, or take it out where it is NULL. */
static int
put_here(PyObject *threads, PyObject *watch)
{
    PyObject *number = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    int put = number == NULL ? -1 : threads_set(threads, number, watch);
    Py_XDECREF(number);
    return put;
}

/* Return the sampler, and the probe that it is of, new references; NULL where it sleeps or there is none. */
static PyObject *
awake_sampler(Lane *lane, PyObject **lag)
{
    *lag = PyObject_GetAttr(ASK(lane, WATCHES), str_lag);
    PyObject *sampler = *lag == NULL || *lag == Py_None ? NULL : PyObject_GetAttr(*lag, str_sampler);
    if (sampler != NULL && is_set(sampler, str_asleep)) {
        Py_CLEAR(sampler);
    }
    return sampler;
}

/* Return the time, an int, if the thread can go on with what is known of it: `begin_again` in lag.py. */
static PyObject *
time_to_go_on(Lane *lane, PyObject *subject, PyObject *steps, PyObject *loop)
{
    if (slot_is(steps, &kind_of, (PyObject *)Py_TYPE(loop)) != 1) {
        return NULL;
    }
    PyObject *lag, *sampler = awake_sampler(lane, &lag), *now = NULL;
    if (sampler != NULL) {
        long long fresh = number_in(lag, str_fresh_ns);
        PyObject *reading = read_slot(subject, &last);
        if (fresh >= 0 && reading != NULL && PyTuple_Check(reading) && PyTuple_GET_SIZE(reading) > 0
            && (now = PyObject_CallMethodNoArgs(lag, str_clock)) != NULL) {
            long long since = PyLong_AsLongLong(now)
                              - PyLong_AsLongLong(PyTuple_GET_ITEM(reading, 0));
            if (PyErr_Occurred() || since > fresh) {
                Py_CLEAR(now);
            }
        }
        Py_XDECREF(reading);
    }
    Py_XDECREF(sampler);
    Py_XDECREF(lag);
    return now;
}

#ifdef __linux__

/* Return a new object with the slots of another. */
static PyObject *
copy_slots(PyObject *prototype)
{
    PyTypeObject *type = Py_TYPE(prototype);
    PyObject *copy = type->tp_alloc(type, 0);
    for (PyMemberDef *each = type->tp_members; copy != NULL && each->name != NULL; each++) {
        if (each->type == T_OBJECT_EX) {
            PyObject *value = *(PyObject **)((char *)prototype + each->offset);
            *(PyObject **)((char *)copy + each->offset) = Py_XNewRef(value);
        }
    }
    return copy;
}

/* Return the clocks of the calling thread, if it has only begun: `begin_young` in clocks.py; NULL without an error if
   not. */
static PyObject *
clocks_of_young(Lane *lane, PyObject *lag, PyObject *watch, long long *wall_ns)
{
    clockid_t cpu_clock;
    int64_t cpu = time_of(CLOCK_THREAD_CPUTIME_ID);
    if (cpu >= PyLong_AsLongLong(ASK(lane, YOUNG_NS))
        || pthread_getcpuclockid(pthread_self(), &cpu_clock) != 0) {
        return NULL;
    }
    int64_t process = time_of(CLOCK_PROCESS_CPUTIME_ID);
    PyObject *wall = PyObject_CallMethodNoArgs(lag, str_clock), *begun = NULL;
    PyObject *explained = read_slot(watch, &explained_ns);
    if (wall != NULL && explained != NULL) {
        *wall_ns = PyLong_AsLongLong(wall);
        PyObject *args = Py_BuildValue("((OLLOki))", wall, (long long)cpu, (long long)process,
                                       explained, PyThread_get_thread_native_id(),
                                       (int)cpu_clock);
        if (args != NULL && !PyErr_Occurred()) {
            begun = PyTuple_Type.tp_new((PyTypeObject *)ASK(lane, BEGUN), args, NULL);
        }
        Py_XDECREF(args);
    }
    Py_XDECREF(explained);
    Py_XDECREF(wall);
    return begun;
}

/* As `_put_off` in lag.py: where all others are parked there is nothing to see for a tick. */
static int
look_later(Lane *lane, PyObject *sampler, long long tick_ns)
{
    Threads *threads = (Threads *)ASK(lane, LOOP_THREADS);
    PyObject *alarm = PyObject_GetAttr(sampler, str_alarm);
    int ours = alarm != NULL && Py_TYPE(alarm)->tp_dealloc == (destructor)alarm_dealloc;
    if (ours && threads->parked >= PyDict_GET_SIZE(threads)) {
        ours = push_alarm((Alarm *)alarm, tick_ns);
    }
    Py_XDECREF(alarm);
    return ours;
}

/* Put a young thread on watch for a loop of asyncio's: `begin` in lag.py, and what comes before it. `known` is the watch
   that it had, or None. 1 where it was done; 0 where it is Python's to do, maybe with an error; -1 on error. */
static int
enter_young(Lane *lane, PyObject *known, PyObject *loop)
{
    PyObject *tool = NULL, *lag = NULL, *sampler = NULL, *begun = NULL, *renew = NULL, *watch = NULL;
    long long wall_ns, renew_ns_, tick_ns;
    int entered = 0;
    if (PyType_IsSubtype(Py_TYPE(loop), (PyTypeObject *)ASK(lane, LOOP_TYPE))
        && PyThreadState_Get()->c_traceobj == NULL
        && (tool = PyObject_CallNoArgs(ASK(lane, DEBUGGING_TOOL))) == Py_None
        && (sampler = awake_sampler(lane, &lag)) != NULL && is_set(lag, str_loops)
        && (renew_ns_ = number_in(lag, str_renew_ns)) > 0
        && (tick_ns = number_in(lag, str_tick_ns)) > 0
        && (watch = known == Py_None ? copy_slots(ASK(lane, PROTOTYPE)) : Py_NewRef(known)) != NULL
        && (begun = clocks_of_young(lane, lag, watch, &wall_ns)) != NULL
        && (renew = PyLong_FromLongLong(wall_ns + renew_ns_)) != NULL
        && look_later(lane, sampler, tick_ns)) {
        entered = (watch != known && PyObject_SetAttr(ASK(lane, HERE), str_watch, watch) < 0)
                          || write_slot(watch, &loop_now, loop) < 0
                          || write_slot(watch, &poller, ASK(lane, ROUND)) < 0
                          || write_slot(watch, &began, begun) < 0
                          || write_slot(watch, &renew_ns, renew) < 0
                          || put_here(ASK(lane, LOOP_THREADS), watch) < 0
                      ? -1
                      : 1;
    }
    Py_XDECREF(renew);
    Py_XDECREF(begun);
    Py_XDECREF(watch);
    Py_XDECREF(sampler);
    Py_XDECREF(lag);
    Py_XDECREF(tool);
    return entered;
}

#else

static int
enter_young(Lane *lane, PyObject *known, PyObject *loop)
{
    return 0;
}

#endif

/* Tell whether the calling thread has been put on watch for a loop: 1 or 0, or -1. */
static int
enter_again(Lane *lane, PyObject *loop)
{
    PyObject *threads = ASK(lane, LOOP_THREADS), *known;
    int found = ask_here(threads, &known);
    if (found != 0) {
        return found < 0 ? -1 : 0;
    }
    if (PyDict_GET_SIZE(ASK(lane, TASKS)) > PyLong_AsLong(ASK(lane, FEW))) {
        return 0; /* it is time to sweep */
    }
    PyObject *subject = NULL, *steps = NULL, *now = NULL, *explained = NULL;
    int entered = 0;
    PyObject *watch = PyObject_GetAttr(ASK(lane, HERE), str_watch);
    if (watch != NULL && watch != Py_None) {
        subject = read_slot(watch, &rested);
    }
    if (watch != NULL && (subject == NULL || subject == Py_None)) {
        entered = PyErr_Occurred() ? 0 : enter_young(lane, watch, loop);
    }
    else if (watch != NULL && (steps = read_slot(subject, &steps_of)) != NULL && steps != Py_None
        && (now = time_to_go_on(lane, subject, steps, loop)) != NULL
        && (explained = read_slot(watch, &explained_ns)) != NULL) {
        entered = write_slot(watch, &loop_now, loop) < 0 || put_here(threads, watch) < 0
                          || write_slot(subject, &resumed_ns, now) < 0
                          || write_slot(subject, &explained_before_ns, explained) < 0
                          || write_slot(steps, &loop_read, loop) < 0
                          || write_slot(watch, &subject_now, subject) < 0
                      ? -1
                      : 1;
    }
    Py_XDECREF(explained);
    Py_XDECREF(now);
    Py_XDECREF(steps);
    Py_XDECREF(subject);
    Py_XDECREF(watch);
    if (entered == 0) {
        PyErr_Clear();
    }
    return entered;
}

/* Tell whether nobody looks at the thread: `end` in lag.py; with its steps, a new reference or NULL. */
static int
is_left_alone(Lane *lane, PyObject *subject, PyObject **steps)
{
    if (subject == Py_None) {
        return 1; /* it may have begun, which is let go of below */
    }
    if (slot_is(subject, &stay, Py_None) != 1 || (*steps = read_slot(subject, &steps_of)) == NULL
        || *steps == Py_None) {
        return 0;
    }
    PyObject *lag = PyObject_GetAttr(ASK(lane, WATCHES), str_lag);
    int alone = lag != NULL && lag != Py_None && !is_set(lag, str_looking)
                && !is_set(lag, str_over);
    Py_XDECREF(lag);
    return alone;
}

/* Tell whether the calling thread is watched for its loop no longer: 1 or 0, or -1. */
static int
leave_again(Lane *lane)
{
    PyObject *threads = ASK(lane, LOOP_THREADS), *watch;
    int found = ask_here(threads, &watch);
    if (found <= 0) {
        return found < 0 ? -1 : 1;
    }
    Py_INCREF(watch);
    PyObject *subject = read_slot(watch, &subject_now), *steps = NULL;
    int left = 0;
    if (subject != NULL && slot_is(watch, &loop_now, Py_None) == 0
        && slot_is(watch, &call_now, Py_None) == 1 && slot_is(watch, &below, Py_None) == 1
        && is_left_alone(lane, subject, &steps)) {
        left = write_slot(watch, &began, Py_None) < 0
                       || (steps != NULL && (write_slot(watch, &subject_now, Py_None) < 0
                                  || write_slot(steps, &loop_read, Py_None) < 0))
                       || put_here(threads, NULL) < 0
                       || write_slot(watch, &loop_now, Py_None) < 0
                   ? -1
                   : 1;
    }
    Py_XDECREF(steps);
    Py_XDECREF(subject);
    Py_DECREF(watch);
    if (left == 0) {
        PyErr_Clear();
    }
    return left;
}

static PyObject *
lane_loop(PyObject *function, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Lane *lane = lane_of(function);
    if (lane == NULL || PyVectorcall_NARGS(nargsf) != 1 || kwnames != NULL) {
        return run_function(function, args, nargsf, kwnames);
    }
    Py_INCREF(lane);
    PyObject *loop = Py_NewRef(args[0]);
    PyObject *result = PyObject_Vectorcall(lane->original, args, nargsf, NULL);
    if (result != NULL) {
        int done = loop == Py_None ? leave_again(lane) : enter_again(lane, loop);
        if (done == 0) {
            PyObject *answer = loop == Py_None ? PyObject_CallNoArgs(ASK(lane, LEAVE))
                                               : PyObject_CallOneArg(ASK(lane, ENTER), loop);
            done = answer == NULL ? -1 : 1;
            Py_XDECREF(answer);
        }
        if (done < 0) {
            Py_CLEAR(result);
        }
    }
    Py_DECREF(loop);
    Py_DECREF(lane);
    return result;
}

/* -- the type, and how a function gets one */

static int
lane_traverse(Lane *lane, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(lane));
    Py_VISIT(lane->original);
    Py_VISIT(lane->asks);
    return 0;
}

static const struct {
    const char *name;
    vectorcallfunc call;
    Py_ssize_t asks;
} lane_kinds[] = {
    {"answer", lane_answer, 2},
    {"task", lane_task, 3},
    {"spawn", lane_spawn, 1},
    {"loop", lane_loop, LOOP_ASKS},
};

/* Lane(kind, function, original, asks): from now on calls of the function go by the lane */
static PyObject *
lane_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    const char *kind;
    PyObject *function, *original, *asks;
    if (!takes_no_names("Lane", kwargs)
        || !PyArg_ParseTuple(args, "sO!OO!:Lane", &kind, &PyFunction_Type, &function, &original,
                             &PyTuple_Type, &asks)) {
        return NULL;
    }
    vectorcallfunc call = NULL;
    for (size_t each = 0; each < Py_ARRAY_LENGTH(lane_kinds); each++) {
        if (strcmp(kind, lane_kinds[each].name) == 0
            && PyTuple_GET_SIZE(asks) == lane_kinds[each].asks) {
            call = lane_kinds[each].call;
        }
    }
    PyObject *first = PyTuple_GET_SIZE(asks) > 0 ? PyTuple_GET_ITEM(asks, 0) : Py_None;
    int wrong = call == NULL;
    if (call == lane_answer) {
        wrong = !is_threads(first);
    }
    else if (call == lane_loop) {
        wrong = !is_threads(PyTuple_GET_ITEM(asks, LOOP_THREADS))
                || !PyDict_Check(PyTuple_GET_ITEM(asks, TASKS))
                || !PyType_Check(PyTuple_GET_ITEM(asks, LOOP_TYPE))
                || !PyType_Check(PyTuple_GET_ITEM(asks, BEGUN))
                || !PyType_IsSubtype((PyTypeObject *)PyTuple_GET_ITEM(asks, BEGUN), &PyTuple_Type)
                || !PyLong_Check(PyTuple_GET_ITEM(asks, YOUNG_NS))
                || !PyLong_Check(PyTuple_GET_ITEM(asks, FEW));
    }
    else if (call != NULL) {
        wrong = Py_TYPE(first)->tp_dealloc != (destructor)noter_dealloc;
    }
    if (wrong) {
        PyErr_Format(PyExc_TypeError, "no lane of the kind '%s' for this", kind);
        return NULL;
    }
    PyObject *dict = PyObject_GenericGetDict(function, NULL);
    int has_one = dict == NULL ? -1 : PyDict_Contains(dict, str_lane);
    if (has_one > 0) {
        PyErr_SetString(PyExc_ValueError, "the function has a lane");
    }
    if (has_one != 0) {
        Py_XDECREF(dict);
        return NULL;
    }
    run_function = ((PyFunctionObject *)function)->vectorcall;
    Lane *lane = (Lane *)type->tp_alloc(type, 0);
    if (lane != NULL) {
        lane->original = Py_NewRef(original);
        lane->asks = Py_NewRef(asks);
        if (PyDict_SetItem(dict, str_lane, (PyObject *)lane) < 0) {
            Py_CLEAR(lane);
        }
        else {
            PyFunction_SetVectorcall((PyFunctionObject *)function, call);
        }
    }
    Py_DECREF(dict);
    return (PyObject *)lane;
}

static PyType_Slot lane_slots[] = {
    {Py_tp_new, lane_new},
    {Py_tp_dealloc, lane_dealloc},
    {Py_tp_traverse, lane_traverse},
    {0, NULL},
};

static PyType_Spec lane_spec = {
    .name = "pytest_truasync._detect._native.Lane",
    .basicsize = sizeof(Lane),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = lane_slots,
};

#endif /* 3.12 */

#define MOST_PLACES 400 /* as callsite.DEEPEST */

static PyObject *
stack_key(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || !PyFrame_Check(args[0]) || !PyDict_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "stack_key(frame, ends)");
        return NULL;
    }
    struct {
        PyCodeObject *code;
        Py_ssize_t instruction;
    } places[MOST_PLACES];
    Py_ssize_t count = 0;
    int ended = 0;
    PyFrameObject *frame = (PyFrameObject *)Py_NewRef(args[0]);
    while (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        places[count].code = code;
        places[count].instruction = PyFrame_GetLasti(frame);
        count++;
        PyObject *number = PyLong_FromVoidPtr(code);
        ended = number == NULL ? -1 : PyDict_Contains(args[1], number);
        Py_XDECREF(number);
        Py_DECREF(code);
        PyFrameObject *back = ended || count == MOST_PLACES ? NULL : PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    if (ended < 0) {
        return NULL;
    }
    return PyBytes_FromStringAndSize((const char *)places, count * (Py_ssize_t)sizeof(places[0]));
}

/* has_ours(trace, not_ours): whether a line of a traceback stands in a file of ours; the dict tells of each file that it
   does not */
static PyObject *
has_ours(PyObject *unused, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || !PyList_Check(args[0]) || !PyDict_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "has_ours(trace: list, not_ours: dict)");
        return NULL;
    }
    for (Py_ssize_t each = 0; each < PyList_GET_SIZE(args[0]); each++) {
        PyObject *filename = PyObject_GetAttr(PyList_GET_ITEM(args[0], each), str_filename);
        PyObject *verdict = filename == NULL ? NULL : role_of(args[1], filename);
        Py_XDECREF(filename);
        if (verdict != Py_True) {
            return verdict == NULL ? NULL : Py_NewRef(Py_True);
        }
    }
    Py_RETURN_FALSE;
}

static PyMethodDef functions[] = {
    {"has_ours", (PyCFunction)(void (*)(void))has_ours, METH_FASTCALL,
     "Tell whether a line of a traceback is ours."},
    {"stack_key", (PyCFunction)(void (*)(void))stack_key, METH_FASTCALL,
     "Codes, by number, and instructions of a stack, up to one of the ends."},
    {"know_slots", know_slots, METH_O, "Read the slots of this type where they lie."},
    {"make_twin", make_twin, METH_VARARGS, "Make a builtin that runs what the stand holds."},
    {"set_on_type", set_on_type, METH_VARARGS, "As setattr, of immutable types, too."},
    {"holders", holders, METH_VARARGS, "Tell which dicts hold one of the objects."},
#ifdef __linux__
    {"read_file", read_file, METH_O, "Return the first 300 bytes of a file, or none."},
    {"open_high", open_high, METH_VARARGS, "Open a file, at a high number."},
    {"read_queue", read_queue, METH_O, "Read how long a thread stood in the queue, and its turns."},
    {"thread_clocks", thread_clocks, METH_NOARGS, "Read the clocks of the calling thread."},
#endif
    {NULL},
};

static int
fill(PyObject *module)
{
    for (size_t each = 0; each < Py_ARRAY_LENGTH(strings); each++) {
        *strings[each].place = PyUnicode_InternFromString(strings[each].name);
        if (*strings[each].place == NULL) {
            return -1;
        }
    }
    for (size_t each = 0; each < Py_ARRAY_LENGTH(slots_read); each++) {
        slots_read[each]->name = PyUnicode_InternFromString(slots_read[each]->attribute);
        if (slots_read[each]->name == NULL) {
            return -1;
        }
    }
#ifdef __linux__
    PyObject *time = PyImport_ImportModule("time");
    perf_counter_ns = time == NULL ? NULL : PyObject_GetAttrString(time, "perf_counter_ns");
    Py_XDECREF(time);
    if (perf_counter_ns == NULL) {
        return -1;
    }
#endif
    PyObject *threads = PyType_FromModuleAndSpec(module, &threads_spec, (PyObject *)&PyDict_Type);
    int failed = threads == NULL || PyModule_AddType(module, (PyTypeObject *)threads) < 0;
    Py_XDECREF(threads);
    if (failed) {
        return -1;
    }
    PyType_Spec *specs[] = {
        &gate_spec,
        &noter_spec,
#if PY_VERSION_HEX >= 0x030C0000
        &lane_spec,
#endif
#ifdef __linux__
        &alarm_spec,
#endif
    };
    for (size_t each = 0; each < Py_ARRAY_LENGTH(specs); each++) {
        PyObject *type = PyType_FromModuleAndSpec(module, specs[each], NULL);
        if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
            Py_XDECREF(type);
            return -1;
        }
        Py_DECREF(type);
    }
    return PyModule_AddStringConstant(module, "SOURCE", SOURCE);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, fill},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "Fast paths; see native.py.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
