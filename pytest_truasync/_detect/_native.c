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
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
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
static PyObject *str_alarm, *str_append, *str_args, *str_asleep, *str_begin, *str_clock, *str_closed, *str_coro,
    *str_cr_code, *str_doing, *str_end, *str_filename, *str_fresh_ns, *str_func, *str_lag, *str_lane, *str_looking,
    *str_loops, *str_note, *str_off, *str_origin, *str_over, *str_parked, *str_renew_ns, *str_sampler,
    *str_source_traceback, *str_sync_fn, *str_task, *str_test, *str_tick_ns, *str_track, *str_watch, *str_youth_ns;

static const struct {
    PyObject **place;
    const char *name;
} strings[] = {
    {&str_alarm, "alarm"},
    {&str_append, "append"},
    {&str_args, "args"},
    {&str_asleep, "asleep"},
    {&str_begin, "begin"},
    {&str_clock, "clock"},
    {&str_closed, "_closed"},
    {&str_coro, "coro"},
    {&str_cr_code, "cr_code"},
    {&str_doing, "doing"},
    {&str_end, "end"},
    {&str_filename, "filename"},
    {&str_fresh_ns, "fresh_ns"},
    {&str_func, "func"},
    {&str_lag, "lag"},
    {&str_lane, "_truasync_lane"},
    {&str_looking, "looking"},
    {&str_loops, "loops"},
    {&str_note, "note"},
    {&str_off, "_off"},
    {&str_origin, "_origin"},
    {&str_over, "over"},
    {&str_parked, "parked"},
    {&str_renew_ns, "renew_ns"},
    {&str_sampler, "sampler"},
    {&str_source_traceback, "_source_traceback"},
    {&str_sync_fn, "sync_fn"},
    {&str_task, "task"},
    {&str_test, "test"},
    {&str_tick_ns, "tick_ns"},
    {&str_track, "_track"},
    {&str_watch, "watch"},
    {&str_youth_ns, "youth_ns"},
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
#define HANDOVER "Handover"
#define OFFLOAD "Offload"
#define OFFLOADED "Offloaded"
#define POOL "Pool"

static Slot began = {WATCH, "began"}, below = {WATCH, "below"}, born_ns = {WATCH, "born_ns"},
            busy = {WATCH, "busy"}, call_now = {WATCH, "call"},
            explained_ns = {WATCH, "explained_ns"}, loop_now = {WATCH, "loop"},
            poller = {WATCH, "poller"}, renew_ns = {WATCH, "renew_ns"}, rested = {WATCH, "rested"},
            subject_now = {WATCH, "subject"}, work = {WATCH, "work"};
static Slot explained_before_ns = {SUBJECT, "explained_ns"}, last = {SUBJECT, "last"},
            resumed_ns = {SUBJECT, "resumed_ns"}, stay = {SUBJECT, "stay"},
            steps_of = {SUBJECT, "steps"};
static Slot kind_of = {STEPS, "kind"}, loop_read = {STEPS, "loop"};
static Slot handed_at = {HANDOVER, "site"}, handed_near = {HANDOVER, "fallback"}, last_said = {HANDOVER, "last"},
            loops_own = {HANDOVER, "loops_own"};
static Slot work_called = {OFFLOAD, "called"}, work_explained_ns = {OFFLOAD, "explained_ns"},
            work_function = {OFFLOAD, "function"}, work_groups = {OFFLOAD, "groups"},
            work_handover = {OFFLOAD, "handover"}, work_hosted = {OFFLOAD, "hosted"}, work_noted = {OFFLOAD, "noted"},
            work_number = {OFFLOAD, "number"}, work_permission = {OFFLOAD, "permission"},
            work_pool = {OFFLOAD, "pool"}, work_site = {OFFLOAD, "site"},
            work_submitted_ns = {OFFLOAD, "submitted_ns"}, work_since = {OFFLOAD, "since"},
            work_test = {OFFLOAD, "test"}, work_told = {OFFLOAD, "told"},
            work_touched = {OFFLOAD, "touched"};
static Slot given_function = {OFFLOADED, "_function"}, given_once = {OFFLOADED, "_once"},
            given_runner = {OFFLOADED, "_runner"},
            given_work = {OFFLOADED, "work"};
static Slot pool_calls = {POOL, "calls"}, pool_capacity = {POOL, "capacity"}, pool_key = {POOL, "key"},
            pool_longest_ns = {POOL, "longest_wait_ns"}, pool_most_queued = {POOL, "peak_queued"},
            pool_most_running = {POOL, "peak_running"}, pool_permission = {POOL, "permission"},
            pool_running = {POOL, "running"}, pool_site = {POOL, "site"},
            pool_total_ns = {POOL, "total_wait_ns"}, pool_waiting = {POOL, "waiting"};
static Slot sink = {WATCH, "sink"};
static Slot stands_for = {"module", "__call__"};
static Slot *const slots_read[] = {
    &began, &below, &born_ns, &busy, &call_now, &explained_ns, &loop_now, &poller, &renew_ns, &rested, &subject_now,
    &work, &explained_before_ns, &last, &resumed_ns, &stay, &steps_of, &kind_of, &loop_read,
    &handed_at, &handed_near, &last_said, &loops_own, &work_called, &work_explained_ns, &work_function,
    &work_groups, &work_handover, &work_hosted, &work_noted, &work_number, &work_permission, &work_pool, &work_site,
    &work_submitted_ns, &work_since, &work_test, &work_told, &work_touched, &given_function, &given_once,
    &given_runner, &given_work, &pool_calls, &pool_capacity, &pool_key, &pool_longest_ns, &pool_most_queued,
    &pool_most_running, &pool_permission,
    &pool_running, &pool_site, &pool_total_ns, &pool_waiting, &sink, &stands_for,
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

/* Read and set attributes that are numbers. 0, or -1. */

static int
slot_number(PyObject *object, const Slot *slot, long long *number)
{
    PyObject *value = read_slot(object, slot);
    *number = value == NULL ? -1 : PyLong_AsLongLong(value);
    Py_XDECREF(value);
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

static int
set_number(PyObject *object, const Slot *slot, long long number)
{
    PyObject *value = PyLong_FromLongLong(number);
    int set = value == NULL ? -1 : write_slot(object, slot, value);
    Py_XDECREF(value);
    return set;
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

/* Read a clock of nanoseconds. 0, or -1. */
static inline int
read_clock(PyObject *clock, long long *ns)
{
#ifdef __linux__
    if (clock == perf_counter_ns) { /* the same without an object for the answer */
        *ns = monotonic_ns();
        return 0;
    }
#endif
    PyObject *now = PyObject_CallNoArgs(clock);
    *ns = now == NULL ? -1 : PyLong_AsLongLong(now);
    Py_XDECREF(now);
    return *ns == -1 && PyErr_Occurred() ? -1 : 0;
}

/* -- Threads: the dict that tells which threads are watched, made for one question, asked at each
   call that comes by a gate: what is known of the calling thread? Each thread keeps its answer until
   the dict changes. */

typedef struct {
    PyDictObject dict;
    uint64_t version;  /* of all such dicts together, anew with each change */
    Py_ssize_t parked; /* how many of these threads wait for the events of their loops, in `park` */
    void *resting;     /* their one alarm, while it rests since there is nothing to see of any of them; else NULL */
} Threads;

#ifdef __linux__

static void stir_alarm(Threads *threads);

/* To be called when there may be something to see again: after what the alarm goes by has changed. */
static inline void
stir(Threads *threads)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* it says that it rests, then looks, without the GIL */
    if (__atomic_load_n(&threads->resting, __ATOMIC_RELAXED) != NULL) {
        stir_alarm(threads);
    }
}

#else
#define stir(threads) ((void)0)
#endif

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
    int failed = PyDict_Type.tp_as_mapping->mp_ass_subscript(threads, key, value);
    if (value != NULL) {
        stir((Threads *)threads);
    }
    return failed;
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
    PyObject *ask[6];   /* what else tells that a call may pass; by kind */
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

/* -- kind "light", as "call", and in work that was taken off a loop it takes its time and its name, as `_wrap_call` does
   for what threads are for */

/* Tell whether this is a path of a file that the kernel does not make up in memory, as far as its begin tells. */
static int
is_on_disk(PyObject *path)
{
    Py_ssize_t length;
    const char *text = PyUnicode_CheckExact(path) ? PyUnicode_AsUTF8AndSize(path, &length) : NULL;
    if (text == NULL) {
        PyErr_Clear();
        return 0;
    }
    return strncmp(text, "/dev", 4) != 0 && strncmp(text, "/proc", 5) != 0 && strncmp(text, "/sys", 4) != 0;
}

/* Note that a call was made in the work: `Offload.touch`. 0, or -1. */
static int
touch(PyObject *doing, PyObject *name)
{
    PyObject *touched = read_slot(doing, &work_touched), *more = NULL;
    if (touched == NULL || !PyTuple_Check(touched)) {
        Py_XDECREF(touched);
        return -1;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(touched);
    int known = count >= 3;
    for (Py_ssize_t each = 0; each < count && !known; each++) {
        known = PyTuple_GET_ITEM(touched, each) == name;
    }
    int failed = 0;
    if (!known) {
        more = PyTuple_New(count + 1);
        for (Py_ssize_t each = 0; more != NULL && each < count; each++) {
            PyTuple_SET_ITEM(more, each, Py_NewRef(PyTuple_GET_ITEM(touched, each)));
        }
        if (more != NULL) {
            PyTuple_SET_ITEM(more, count, Py_NewRef(name));
        }
        failed = more == NULL || write_slot(doing, &work_touched, more) < 0;
        Py_XDECREF(more);
    }
    Py_DECREF(touched);
    return failed ? -1 : 0;
}

static PyObject *
gate_light(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    enum { NAME = 3, CLOCK, BY_PATH };
    Gate *gate = (Gate *)self;
    PyObject *watch, *doing = NULL, *result = NULL;
    int found = find_watch(gate, &watch);
    if (found <= 0) {
        return found < 0 ? NULL : pass(gate, args, nargsf, kwnames);
    }
    long long started_ns, ended_ns, explained;
    int may_pass = ask_call(gate, watch, args, nargsf, kwnames);
    if (may_pass == 0 && (doing = read_slot(watch, &work)) != NULL && doing != Py_None
        && (gate->ask[BY_PATH] != Py_True
            || (PyVectorcall_NARGS(nargsf) > 0 && is_on_disk(args[0])))
        && touch(doing, gate->ask[NAME]) == 0 && read_clock(gate->ask[CLOCK], &started_ns) == 0) {
        result = pass(gate, args, nargsf, kwnames);
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        if (read_clock(gate->ask[CLOCK], &ended_ns) < 0
            || slot_number(doing, &work_explained_ns, &explained) < 0
            || set_number(doing, &work_explained_ns, explained + ended_ns - started_ns) < 0) {
            PyErr_Clear();
        }
        PyErr_Restore(type, error, traceback);
    }
    else if (may_pass >= 0) {
        PyErr_Clear();
        PyObject *function = may_pass ? gate->original : gate->wrapper;
        result = PyObject_Vectorcall(function, args, nargsf, kwnames);
    }
    Py_XDECREF(doing);
    Py_DECREF(watch);
    return result;
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
    if (read_clock(gate->ask[0], &now_ns) < 0) {
        return -1;
    }
    *now = now_ns < due_ns ? NULL : PyLong_FromLongLong(now_ns);
    return now_ns < due_ns ? 0 : *now == NULL ? -1 : 1;
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
    stir((Threads *)gate->threads);
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
    {"plain", gate_plain, 0}, {"call", gate_call, 3},     {"light", gate_light, 6},
    {"lock", gate_lock, 1},   {"socket", gate_socket, 1}, {"poll", gate_poll, 2},
};

static PyObject *
gate_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    const char *kind;
    PyObject *threads, *original, *wrapper, *ask[] = {Py_None, Py_None, Py_None, Py_None, Py_None, Py_None};
    if (!takes_no_names("Gate", kwargs)) {
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "sO!OO|OOOOOO:Gate", &kind, &PyDict_Type, &threads, &original,
                          &wrapper, &ask[0], &ask[1], &ask[2], &ask[3], &ask[4], &ask[5])) {
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
    if (PyTuple_GET_SIZE(args) != 4 + asks || ((call == gate_call || call == gate_light) && !PyDict_Check(ask[0]))) {
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

/* How often the calling thread got a processor, as its `schedstat` tells. */
static long
turns_here(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw + usage.ru_nivcsw + 1;
}

static PyObject *
turns(PyObject *unused, PyObject *nothing)
{
    return PyLong_FromLong(turns_here());
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

/* -- an alarm that can be put off again and again, which its thread does not notice: the kernel keeps the time, and
   sends it a signal. While nobody need look it rests, and whoever changes that stirs it. */

#ifdef __linux__

#define NEVER INT64_MAX
#define SECOND INT64_C(1000000000)
#define LONGEST_REST SECOND
#define LONGEST_SLEEP (SECOND / 2) /* then it looks at the clock, in case that no signal came */
#define FIRST_SIGNAL (SECOND / 10) /* a timer that does not ring so soon, rings never; nor does one so late */
#define LATEST_SIGNAL (SECOND / 200)
#define NO_TIMER (-1)
#define NO_TIMER_PAUSE (SECOND / 200) /* without a timer it looks at the clock so often, and at rest more seldom */
#define NO_TIMER_REST (SECOND / 50)
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

typedef struct {
    PyObject_HEAD
    pthread_mutex_t mutex; /* of what follows; held for a few instructions, and to set the timer */
    int64_t due;           /* when it is to ring; NEVER until it is set. What is due cannot be put off */
    int timer;             /* of the thread that waits, or NO_TIMER */
    pid_t process;         /* which has it: a fork has none */
    long thread;
    int no_timers;     /* there are none here, or they do not ring */
    int eager;         /* it does not rest until it has rung */
    long switches;     /* how often its thread had gone to sleep when it rang last */
    Threads *threads;  /* while all of them are parked, or there is none, it rests; NULL: it does not */
    int64_t tick;      /* from when it is stirred to when it rings */
    int64_t postponed; /* for how long it has put itself off since it was set */
} Alarm;

#if LONG_MAX > INT32_MAX

/* The signal is the one that the C library keeps for its own timers, which it lets nobody else block or wait for: who
   waits for a signal also takes those that were sent to the process. */
#define TIMER_SIGNAL 32
static const uint64_t timer_signals = UINT64_C(1) << (TIMER_SIGNAL - 1);

static int
block_timer_signal(void)
{
    return (int)syscall(SYS_rt_sigprocmask, SIG_BLOCK, &timer_signals, NULL, sizeof(timer_signals));
}

/* Wait for the signal; 0 if it did not come in time. */
static int
await_timer_signal(int64_t pause_ns)
{
    struct timespec at_most = {pause_ns / SECOND, pause_ns % SECOND};
    return syscall(SYS_rt_sigtimedwait, &timer_signals, NULL, &at_most, sizeof(timer_signals)) > 0 || errno != EAGAIN;
}

/* Have a timer ring so many nanoseconds from now, not at a time: tools change the clocks of a process. 0, or -1. */
static int
start_timer(int timer, int64_t pause_ns)
{
    struct itimerspec times = {{0, 0}, {pause_ns / SECOND, pause_ns % SECOND}};
    return (int)syscall(SYS_timer_settime, timer, 0, &times, NULL);
}

static void
drop_timer(Alarm *alarm)
{
    if (alarm->timer != NO_TIMER && alarm->process == getpid()) {
        syscall(SYS_timer_delete, alarm->timer);
    }
    alarm->timer = NO_TIMER;
}

/* Make a timer for the calling thread, unless it has one, and see it ring. With the mutex held. */
static void
make_timer(Alarm *alarm)
{
    long thread = syscall(SYS_gettid);
    if (alarm->no_timers
        || (alarm->timer != NO_TIMER && alarm->thread == thread && alarm->process == getpid())) {
        return;
    }
    drop_timer(alarm);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TIMER_SIGNAL};
    event.sigev_notify_thread_id = (pid_t)thread;
    int timer;
    alarm->no_timers = 1;
    if (block_timer_signal() == 0 && syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) == 0) {
        alarm->timer = timer;
        alarm->thread = thread;
        alarm->process = getpid();
        if (start_timer(timer, 1) == 0 && await_timer_signal(FIRST_SIGNAL)) {
            alarm->no_timers = 0;
        }
        else {
            drop_timer(alarm);
        }
    }
}

#else /* where a time may be of either size: it looks at the clock */
#define drop_timer(alarm) ((void)0)
#define make_timer(alarm) ((alarm)->no_timers = 1)
#define start_timer(timer, pause_ns) 0
#define await_timer_signal(pause_ns) 1
#endif

/* Have the kernel ring when it is due. With the mutex held. */
static void
set_timer(Alarm *alarm, int64_t now)
{
    if (alarm->timer == NO_TIMER || alarm->process != getpid()) {
        return;
    }
    int64_t pause = alarm->due == NEVER ? 0 : alarm->due > now ? alarm->due - now : 1; /* 0 is never */
    if (start_timer(alarm->timer, pause) < 0) {
        drop_timer(alarm);
        alarm->no_timers = 1;
    }
}

static void
cease_to_rest(Alarm *alarm)
{
    if (alarm->threads != NULL && __atomic_load_n(&alarm->threads->resting, __ATOMIC_RELAXED) == alarm) {
        __atomic_store_n(&alarm->threads->resting, NULL, __ATOMIC_SEQ_CST);
    }
}

/* Move the time when it is to ring. */
static void
move_alarm(Alarm *alarm, int64_t pause_ns)
{
    int64_t now = monotonic_ns();
    pthread_mutex_lock(&alarm->mutex);
    cease_to_rest(alarm);
    if (alarm->due > now) {
        alarm->due = pause_ns <= 0 ? now : pause_ns < NEVER - now ? now + pause_ns : NEVER;
        alarm->eager = 0;
        set_timer(alarm, now);
    }
    if (pause_ns <= 0) {
        alarm->eager = 1; /* its thread is called, whoever is parked */
    }
    alarm->postponed = 0; /* also of what is due: who set it plans anew */
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
        alarm->eager = 0;
        set_timer(alarm, now);
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

/* Rest, where nobody need look for now: all threads are parked, or there is none. Without the GIL, with the mutex.
   Whoever comes back after this has said so is seen to by `stir`; who came back before is seen here. */
static int
may_rest(Alarm *alarm, int64_t now)
{
    Threads *threads = alarm->threads;
    if (threads == NULL || alarm->eager || __atomic_load_n(&threads->resting, __ATOMIC_RELAXED) == alarm) {
        return 0; /* it has rested long enough */
    }
    __atomic_store_n(&threads->resting, (void *)alarm, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&threads->parked, __ATOMIC_RELAXED)
        < __atomic_load_n(&threads->dict.ma_used, __ATOMIC_RELAXED)) {
        cease_to_rest(alarm);
        return 0;
    }
    alarm->postponed += now + LONGEST_REST - alarm->due;
    alarm->due = now + LONGEST_REST;
    set_timer(alarm, now);
    return 1;
}

/* Ring a tick from now: there may be something to see of the threads again. */
static void
stir_alarm(Threads *threads)
{
    Alarm *alarm = threads->resting; /* which its thread holds; with the GIL, nobody lets it go meanwhile */
    if (alarm == NULL) {
        return;
    }
    int64_t now = monotonic_ns(), due = now + alarm->tick;
    pthread_mutex_lock(&alarm->mutex);
    if (threads->resting == alarm) {
        cease_to_rest(alarm);
        if (due < alarm->due) {
            alarm->postponed -= alarm->due - due;
            alarm->due = due;
            set_timer(alarm, now);
        }
    }
    pthread_mutex_unlock(&alarm->mutex);
}

/* Sleep until it may have to ring. With the mutex, which it lets go of meanwhile. */
static void
sleep_for_alarm(Alarm *alarm, int64_t now)
{
    if (alarm->timer != NO_TIMER) {
        pthread_mutex_unlock(&alarm->mutex);
        int came = await_timer_signal(LONGEST_SLEEP);
        now = monotonic_ns();
        pthread_mutex_lock(&alarm->mutex);
        if (!came && alarm->due < now - LATEST_SIGNAL) {
            drop_timer(alarm);
            alarm->no_timers = 1;
        }
        return;
    }
    int64_t pause = alarm->due == NEVER ? NO_TIMER_REST : alarm->due - now;
    pause = pause > NO_TIMER_REST ? NO_TIMER_REST : pause > NO_TIMER_PAUSE ? NO_TIMER_PAUSE : pause;
    pthread_mutex_unlock(&alarm->mutex);
    struct timespec until = {pause / SECOND, pause % SECOND};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &until, NULL);
    pthread_mutex_lock(&alarm->mutex);
}

static PyObject *
alarm_wait(Alarm *alarm, PyObject *unused)
{
    struct rusage usage;
    int64_t now;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&alarm->mutex);
    make_timer(alarm);
    set_timer(alarm, monotonic_ns());
    while ((now = monotonic_ns()) < alarm->due || may_rest(alarm, now)) {
        sleep_for_alarm(alarm, now);
    }
    alarm->due = NEVER;
    cease_to_rest(alarm);
    pthread_mutex_unlock(&alarm->mutex);
    getrusage(RUSAGE_THREAD, &usage);
    alarm->switches = usage.ru_nvcsw;
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
alarm_close(Alarm *alarm, PyObject *unused)
{
    pthread_mutex_lock(&alarm->mutex);
    cease_to_rest(alarm);
    drop_timer(alarm);
    pthread_mutex_unlock(&alarm->mutex);
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
    pthread_mutex_init(&alarm->mutex, NULL);
    alarm->due = NEVER;
    alarm->timer = NO_TIMER;
    alarm->threads = (Threads *)Py_XNewRef(threads); /* which owns no alarm */
    alarm->tick = tick;
    return (PyObject *)alarm;
}

/* Who waits holds it, also where a fork has left the waiting thread behind. */
static void
alarm_dealloc(Alarm *alarm)
{
    PyTypeObject *type = Py_TYPE(alarm);
    cease_to_rest(alarm);
    drop_timer(alarm);
    pthread_mutex_destroy(&alarm->mutex);
    Py_XDECREF(alarm->threads);
    type->tp_free(alarm);
    Py_DECREF(type);
}

static PyMethodDef alarm_methods[] = {
    {"set", (PyCFunction)alarm_set, METH_O,
     "Ring so many nanoseconds from now, not when it was to ring before."},
    {"wait", (PyCFunction)alarm_wait, METH_NOARGS, "Sleep until it rings; for one thread."},
    {"close", (PyCFunction)alarm_close, METH_NOARGS, "Ring no more: the thread that waited ends."},
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

/* -- what lanes and offloads share */

#define ASK(of, each) PyTuple_GET_ITEM((of)->asks, each)

#if PY_VERSION_HEX >= 0x030C0000 /* there are lanes */

/* Return an attribute as a number, or -1: what cannot be read is Python's to judge. */
static long long
number_in(PyObject *object, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(object, name);
    long long number = value == NULL ? -1 : PyLong_AsLongLong(value);
    Py_XDECREF(value);
    return number;
}

#endif

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
awake_sampler(PyObject *watches, PyObject **lag)
{
    *lag = PyObject_GetAttr(watches, str_lag);
    PyObject *sampler = *lag == NULL || *lag == Py_None ? NULL : PyObject_GetAttr(*lag, str_sampler);
    if (sampler != NULL && is_set(sampler, str_asleep)) {
        Py_CLEAR(sampler);
    }
    return sampler;
}

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
   a moment ago, or one of asyncio's while it is young or was so a moment ago, and where it leaves one that nobody looks
   at; asks: what enters, what leaves, `_Here`, the `Watch`, its threads, the tasks, how many of them are few, and what
   `enter_young` needs */

enum { ENTER, LEAVE, HERE, WATCHES, LOOP_THREADS, TASKS, FEW, LOOP_TYPE, ROUND, PROTOTYPE, DEBUGGING_TOOL, BEGUN,
       YOUNG_NS, LOOP_ASKS };

/* Return the time, an int, if the thread can go on with what is known of it: `begin_again` in lag.py. */
static PyObject *
time_to_go_on(Lane *lane, PyObject *subject, PyObject *steps, PyObject *loop)
{
    if (slot_is(steps, &kind_of, (PyObject *)Py_TYPE(loop)) != 1) {
        return NULL;
    }
    PyObject *lag, *sampler = awake_sampler(ASK(lane, WATCHES), &lag), *now = NULL;
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

/* Return the clocks of the calling thread, if it has only begun, or had so a moment ago: `begin_young` in clocks.py;
   NULL without an error if not. */
static PyObject *
clocks_of_young(Lane *lane, PyObject *lag, PyObject *watch, long long *wall_ns)
{
    clockid_t cpu_clock;
    PyObject *wall = PyObject_CallMethodNoArgs(lag, str_clock), *begun = NULL;
    PyObject *explained = read_slot(watch, &explained_ns), *born = read_slot(watch, &born_ns);
    if (wall != NULL && explained != NULL && born != NULL
        && pthread_getcpuclockid(pthread_self(), &cpu_clock) == 0) {
        long long now = *wall_ns = PyLong_AsLongLong(wall), was_born = PyLong_AsLongLong(born);
        int64_t cpu = time_of(CLOCK_THREAD_CPUTIME_ID);
        if (was_born == 0 ? cpu < PyLong_AsLongLong(ASK(lane, YOUNG_NS))
                          : now - was_born < number_in(lag, str_youth_ns)) {
            int64_t process = time_of(CLOCK_PROCESS_CPUTIME_ID);
            PyObject *args = Py_BuildValue("((OLLOkiOl))", wall, (long long)cpu,
                                           (long long)process, explained,
                                           PyThread_get_thread_native_id(), (int)cpu_clock,
                                           was_born != 0 ? born : wall,
                                           was_born != 0 ? turns_here() : 0L);
            if (args != NULL && !PyErr_Occurred()) {
                begun = PyTuple_Type.tp_new((PyTypeObject *)ASK(lane, BEGUN), args, NULL);
            }
            Py_XDECREF(args);
        }
    }
    Py_XDECREF(born);
    Py_XDECREF(explained);
    Py_XDECREF(wall);
    return begun;
}

/* The time when it had only begun, a field of `Begun`; borrowed. */
#define BORN_NS(begun) PyTuple_GET_ITEM(begun, 6)

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
        && (sampler = awake_sampler(ASK(lane, WATCHES), &lag)) != NULL && is_set(lag, str_loops)
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
                          || write_slot(watch, &born_ns, BORN_NS(begun)) < 0
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

/* Return the numbers of codes, and the instructions, of a stack, up to one of the ends. */
static PyObject *
key_of(PyFrameObject *frame, PyObject *ends)
{
    struct {
        PyCodeObject *code;
        Py_ssize_t instruction;
    } places[MOST_PLACES];
    Py_ssize_t count = 0;
    int ended = 0;
    Py_INCREF(frame);
    while (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        places[count].code = code;
        places[count].instruction = PyFrame_GetLasti(frame);
        count++;
        PyObject *number = PyLong_FromVoidPtr(code);
        ended = number == NULL ? -1 : PyDict_Contains(ends, number);
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

static PyObject *
stack_key(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || !PyFrame_Check(args[0]) || !PyDict_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "stack_key(frame, ends)");
        return NULL;
    }
    return key_of((PyFrameObject *)args[0], args[1]);
}

/* -- Offloader: what OffloadProbe in executors.py does most often with work that is taken off a loop. `track` is its
   `_track`, for threads of a pool; `begin` and `end` are called around the work in its thread. Whatever it is not sure
   of is done by that probe, from the start. */

#ifdef __linux__

typedef struct {
    PyObject_HEAD
    PyObject *asks; /* tuple */
} Offloader;

enum { OF_PROBE, OF_JUDGE, OF_WATCHES, OF_THREADS, OF_RECORDER, OF_NOTED, OF_MOST_NOTED, OF_HANDOVERS, OF_ENDS,
       OF_SITES, OF_ROLES, OF_USER, OF_NUMBERS, OF_PERMISSION, OF_POOLS, OF_MOST_POOLS, OF_FILE_CALLS, OF_NOTER,
       OF_CURRENT_TASK, OF_CLOCK, OF_OFFLOAD, OF_OFFLOADED, OF_WATCH, OF_CLOCKS, OF_NEW_NS, OF_DELAYS, OF_STALE_NS,
       OF_UNSEEN_NS, OF_WORK_OF, OF_NAME_OF_WORK, OF_SITE_OF, OF_SPOKEN, OF_PARTIAL, OF_THREAD, OF_COMPUTATION,
       OF_ASKS };

/* Pools, as in pools.py. Each returns 0, or -1. */

static int
set_if_more(PyObject *object, const Slot *slot, long long number)
{
    long long most;
    if (slot_number(object, slot, &most) < 0) {
        return -1;
    }
    return number > most ? set_number(object, slot, number) : 0;
}

static int
pool_submitted(PyObject *pool, PyObject *number, PyObject *site, PyObject *permission)
{
    long long calls, running, capacity;
    if (slot_number(pool, &pool_calls, &calls) < 0 || slot_number(pool, &pool_running, &running) < 0
        || slot_number(pool, &pool_capacity, &capacity) < 0
        || (calls == 0 && (write_slot(pool, &pool_site, site) < 0
                           || write_slot(pool, &pool_permission, permission) < 0))
        || set_number(pool, &pool_calls, calls + 1) < 0) {
        return -1;
    }
    PyObject *waiting = read_slot(pool, &pool_waiting);
    int failed = waiting == NULL ? -1 : PyDict_SetItem(waiting, number, Py_None);
    long long queued = failed ? 0 : PyDict_GET_SIZE(waiting);
    Py_XDECREF(waiting);
    if (!failed && capacity > 0 && queued + running > capacity) {
        failed = set_if_more(pool, &pool_most_queued,
                             queued - (capacity > running ? capacity - running : 0));
    }
    return failed;
}

static int
pool_started(PyObject *pool, PyObject *number, long long waited_ns)
{
    long long total_ns, running;
    PyObject *waiting = read_slot(pool, &pool_waiting);
    int waits = waiting == NULL ? -1 : PyDict_Contains(waiting, number);
    if (waits > 0) {
        waits = PyDict_DelItem(waiting, number);
    }
    Py_XDECREF(waiting);
    return waits < 0 || slot_number(pool, &pool_total_ns, &total_ns) < 0
                   || slot_number(pool, &pool_running, &running) < 0
                   || set_number(pool, &pool_total_ns, total_ns + waited_ns) < 0
                   || set_if_more(pool, &pool_longest_ns, waited_ns) < 0
                   || set_number(pool, &pool_running, running + 1) < 0
                   || set_if_more(pool, &pool_most_running, running + 1) < 0
               ? -1
               : 0;
}

static int
pool_ended(PyObject *pool)
{
    long long running;
    return slot_number(pool, &pool_running, &running) < 0
                   || set_number(pool, &pool_running, running - 1) < 0
               ? -1
               : 0;
}

/* What is handed over, as `work_of` in offloads.py and `name_of` in callsite.py. */

/* Return what a function of trio's or anyio's was made to carry to a thread, a new reference: `_enclosed`; NULL without
   an error where it carries nothing. */
static PyObject *
enclosed(PyFunctionObject *function)
{
    if (function->func_closure == NULL) {
        return NULL;
    }
    PyObject *names = PyCode_GetFreevars((PyCodeObject *)function->func_code), *carried = NULL;
    if (names == NULL) {
        return NULL;
    }
    int by_anyio = function->func_module != NULL && PyUnicode_Check(function->func_module)
                   && PyUnicode_CompareWithASCIIString(function->func_module,
                                                       "anyio._backends._trio") == 0;
    Py_ssize_t most = PyTuple_GET_SIZE(function->func_closure), cell = most;
    for (Py_ssize_t each = 0; each < most && each < PyTuple_GET_SIZE(names); each++) {
        PyObject *name = PyTuple_GET_ITEM(names, each); /* interned, as all names of code are */
        if (name == str_sync_fn) {
            cell = each;
            break;
        }
        if (name == str_func && by_anyio) {
            cell = each;
        }
    }
    Py_DECREF(names);
    if (cell < most) {
        carried = PyCell_Get(PyTuple_GET_ITEM(function->func_closure, cell));
    }
    return carried;
}

/* Return what a thread was made to run, a new reference. */
static PyObject *
work_of(Offloader *self, PyObject *function)
{
    PyObject *at = Py_NewRef(function);
    for (int each = 0; each < 10; each++) {
        PyObject *inner = NULL;
        if (PyFunction_Check(at)) {
            inner = enclosed((PyFunctionObject *)at);
        }
        else if (Py_IS_TYPE(at, (PyTypeObject *)ASK(self, OF_PARTIAL))) {
            inner = PyObject_GetAttr(at, str_func);
            if (inner != NULL && PyCFunction_CheckExact(inner)
                && PyCFunction_GET_SELF(inner) != NULL
                && PyContext_CheckExact(PyCFunction_GET_SELF(inner))) {
                PyObject *args = PyObject_GetAttr(at, str_args);
                Py_CLEAR(inner);
                if (args != NULL && PyTuple_Check(args) && PyTuple_GET_SIZE(args) > 0) {
                    inner = Py_NewRef(PyTuple_GET_ITEM(args, 0));
                }
                Py_XDECREF(args);
            }
        }
        else if (!PyCFunction_CheckExact(at)
                 && !(PyMethod_Check(at) && PyFunction_Check(PyMethod_GET_FUNCTION(at))
                      && !PyObject_TypeCheck(PyMethod_GET_SELF(at), (PyTypeObject *)ASK(self, OF_THREAD))
                      && strcmp(Py_TYPE(PyMethod_GET_SELF(at))->tp_name, "SyncToAsync") != 0)) {
            Py_SETREF(at, PyObject_CallOneArg(ASK(self, OF_WORK_OF), at));
            break;
        }
        if (inner == NULL) {
            break;
        }
        Py_SETREF(at, inner);
    }
    if (at != NULL && PyErr_Occurred()) {
        Py_CLEAR(at);
    }
    return at;
}

/* Return the function in Python that this is, or is a method by, borrowed; else NULL. */
static PyFunctionObject *
plain_function(PyObject *carried)
{
    PyObject *function = PyMethod_Check(carried) ? PyMethod_GET_FUNCTION(carried) : carried;
    return PyFunction_Check(function) ? (PyFunctionObject *)function : NULL;
}

/* Return how what a thread was made to run is called, a new reference. */
static PyObject *
name_of_work(Offloader *self, PyObject *carried)
{
    PyFunctionObject *function = plain_function(carried);
    if (function != NULL && function->func_module != NULL && PyUnicode_CheckExact(function->func_module)
        && PyUnicode_GET_LENGTH(function->func_module) > 0
        && PyUnicode_CompareWithASCIIString(function->func_module, "builtins") != 0) {
        int other = PyDict_Contains(ASK(self, OF_SPOKEN), function->func_module);
        if (other == 0 && function->func_dict != NULL) {
            other = PyDict_Contains(function->func_dict, str_func);
        }
        if (other < 0) {
            return NULL;
        }
        if (other == 0 && PyUnicode_GET_LENGTH(function->func_qualname) > 0) {
            return PyUnicode_FromFormat("%U.%U", function->func_module, function->func_qualname);
        }
    }
    return PyObject_CallOneArg(ASK(self, OF_NAME_OF_WORK), carried);
}

/* Return a line that `FrameReader` knows by a code and a number, borrowed; NULL where it does not know it. */
static PyObject *
known_site(Offloader *self, PyObject *code, PyObject *number)
{
    PyObject *place = PyLong_FromVoidPtr(code);
    PyObject *key = place == NULL ? NULL : PyTuple_Pack(2, place, number);
    PyObject *known = key == NULL ? NULL : PyDict_GetItemWithError(ASK(self, OF_SITES), key);
    Py_XDECREF(place);
    Py_XDECREF(key);
    return known != NULL && PyTuple_Check(known) && PyTuple_GET_SIZE(known) == 2
               ? PyTuple_GET_ITEM(known, 1)
               : NULL;
}

/* Return where what a thread was made to run is defined, a new reference: `FrameReader.site_of`. */
static PyObject *
site_of(Offloader *self, PyObject *carried)
{
    PyFunctionObject *function = plain_function(carried);
    if (function != NULL) {
        PyObject *minus_one = PyLong_FromLong(-1);
        PyObject *known = minus_one == NULL ? NULL : known_site(self, function->func_code, minus_one);
        Py_XDECREF(minus_one);
        if (known != NULL) {
            return Py_NewRef(known);
        }
        PyObject *filename = ((PyCodeObject *)function->func_code)->co_filename;
        PyObject *role = PyErr_Occurred() ? NULL : PyDict_GetItemWithError(ASK(self, OF_ROLES), filename);
        if (role != NULL && role != ASK(self, OF_USER)) {
            Py_RETURN_NONE;
        }
    }
    return PyErr_Occurred() ? NULL : PyObject_CallOneArg(ASK(self, OF_SITE_OF), carried);
}

/* Tell whether a function may be one call on files, which is told from others in Python: `FileCalls.name_of`. 1 or 0,
   or -1. */
static int
may_be_file_call(Offloader *self, PyObject *function)
{
    PyObject *inner = Py_IS_TYPE(function, (PyTypeObject *)ASK(self, OF_PARTIAL))
                          ? PyObject_GetAttr(function, str_func)
                          : Py_NewRef(function);
    if (inner == NULL) {
        return -1;
    }
    PyObject *known = PyMethod_Check(inner) ? PyMethod_GET_FUNCTION(inner) : inner;
    PyObject *number = PyLong_FromVoidPtr(known);
    int may_be = number == NULL ? -1 : PyDict_Contains(ASK(self, OF_FILE_CALLS), number);
    if (may_be == 0) {
        may_be = PyCFunction_CheckExact(inner);
    }
    Py_XDECREF(number);
    Py_DECREF(inner);
    return may_be;
}

/* Return the user's line that made the running task, a new reference, or None: `LoopProbe.origin`. */
static PyObject *
origin_here(Offloader *self)
{
    PyObject *watch, *loop = NULL, *task = NULL, *code, *instruction;
    TaskNoter *noter = (TaskNoter *)ASK(self, OF_NOTER);
    int found = ask_here(ASK(self, OF_THREADS), &watch);
    if (found > 0) {
        loop = read_slot(watch, &loop_now);
    }
    if (found < 0 || (found > 0 && loop == NULL)) {
        return NULL;
    }
    if (loop == NULL || loop == Py_None) {
        Py_XDECREF(loop);
        Py_RETURN_NONE;
    }
    if (noter->guest != NULL && noter->guest != Py_None) {
        task = PyObject_GetAttr(noter->guest, str_task);
        PyErr_Clear(); /* no task here */
    }
    if (task == NULL || task == Py_None) {
        Py_XDECREF(task);
        task = PyObject_CallOneArg(ASK(self, OF_CURRENT_TASK), loop);
        if (task == NULL && PyErr_ExceptionMatches(PyExc_RuntimeError)) {
            PyErr_Clear();
            task = Py_NewRef(Py_None);
        }
    }
    Py_DECREF(loop);
    found = task == NULL ? -1 : task == Py_None ? 0 : origin_of(noter->tasks, task, &code, &instruction);
    Py_XDECREF(task);
    if (found <= 0) {
        return found < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *site = Py_XNewRef(known_site(self, code, instruction));
    Py_DECREF(code);
    Py_DECREF(instruction);
    return site != NULL || PyErr_Occurred() ? site : PyObject_CallMethodNoArgs(ASK(self, OF_PROBE), str_origin);
}

/* Tell whether an error is one that the probe is to meet itself, and forget it. */
static int
leave_to_python(void)
{
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception)) {
        return 0; /* somebody interrupts */
    }
    PyErr_Clear();
    return 1;
}

/* Return how work is handed over that a stack tells of, borrowed: what is known of it; else NULL. */
static PyObject *
known_handover(Offloader *self, PyObject *frame, PyObject *via)
{
    PyObject *key = key_of((PyFrameObject *)frame, ASK(self, OF_ENDS));
    PyObject *place = key == NULL ? NULL : PyTuple_Pack(3, via, Py_False, key);
    PyObject *known = place == NULL ? NULL : PyDict_GetItemWithError(ASK(self, OF_HANDOVERS), place);
    Py_XDECREF(place);
    Py_XDECREF(key);
    return known;
}

/* Return the pool that will run the work, a new reference, or None. */
static PyObject *
pool_for(PyObject *pool_of, PyObject *owner, PyObject *handover, PyObject *site)
{
    if (pool_of == Py_None) {
        Py_RETURN_NONE;
    }
    PyObject *at = site == Py_None ? read_slot(handover, &handed_near) : Py_NewRef(site);
    PyObject *pool = at == NULL ? NULL : PyObject_CallFunctionObjArgs(pool_of, owner, at, NULL);
    Py_XDECREF(at);
    if (pool == NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear(); /* of a class of the user's: not to be asked */
        pool = Py_NewRef(Py_None);
    }
    return pool;
}

/* Return the function, watched while it runs, a new reference; NULL where that is Python's to do. */
static PyObject *
wrap_work(Offloader *self, PyObject *function, PyObject *handover, PyObject *site, PyObject *pool, PyObject *once)
{
    PyObject *number = PyIter_Next(ASK(self, OF_NUMBERS)), *permission = NULL, *groups = NULL, *offload = NULL,
             *given = NULL, *pools = ASK(self, OF_POOLS), *test = PyObject_GetAttr(ASK(self, OF_RECORDER), str_test);
    int failed = number == NULL || test == NULL || PyContextVar_Get(ASK(self, OF_PERMISSION), NULL, &permission) < 0
                 || permission == NULL;
    if (!failed && pool != Py_None) {
        failed = pool_submitted(pool, number, site, permission) < 0;
        int used = failed ? -1 : PyDict_Contains(pools, pool);
        if (used == 0 && PyDict_GET_SIZE(pools) < PyLong_AsLong(ASK(self, OF_MOST_POOLS))) {
            used = PyDict_SetItem(pools, pool, Py_None);
        }
        failed = used < 0;
    }
    long long now;
    if (!failed && read_clock(ASK(self, OF_CLOCK), &now) == 0 && (groups = PyDict_New()) != NULL
        && (offload = copy_slots(ASK(self, OF_OFFLOAD))) != NULL
        && (given = copy_slots(ASK(self, OF_OFFLOADED))) != NULL
        && (write_slot(offload, &work_number, number) < 0
            || write_slot(offload, &work_function, function) < 0
            || write_slot(offload, &work_handover, handover) < 0
            || write_slot(offload, &work_site, site) < 0
            || write_slot(offload, &work_permission, permission) < 0
            || write_slot(offload, &work_pool, pool) < 0
            || write_slot(offload, &work_groups, groups) < 0
            || write_slot(offload, &work_test, test) < 0
            || set_number(offload, &work_submitted_ns, now) < 0
            || write_slot(given, &given_runner, (PyObject *)self) < 0
            || write_slot(given, &given_function, function) < 0
            || write_slot(given, &given_once, once) < 0
            || write_slot(given, &given_work, offload) < 0)) {
        Py_CLEAR(given);
    }
    Py_XDECREF(offload);
    Py_XDECREF(test);
    Py_XDECREF(groups);
    Py_XDECREF(permission);
    Py_XDECREF(number);
    return given;
}

/* track(function, frame, via, pool_of, owner): see `OffloadProbe._track` */
static PyObject *
offloader_track(Offloader *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 5 || !PyFrame_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "track(function, frame, via, pool_of, owner)");
        return NULL;
    }
    PyObject *function = args[0], *given = NULL, *handover = NULL, *site = NULL, *pool = NULL;
    if (!is_set(ASK(self, OF_PROBE), str_off)
        && !PyObject_TypeCheck(function, Py_TYPE(ASK(self, OF_OFFLOADED)))
        && may_be_file_call(self, function) == 0
        && (handover = Py_XNewRef(known_handover(self, args[1], args[2]))) != NULL) {
        int nobodys = slot_is(handover, &loops_own, Py_True);
        if (nobodys > 0) {
            given = Py_NewRef(function);
        }
        else if (nobodys == 0 && (site = read_slot(handover, &handed_at)) != NULL) {
            if (site == Py_None) {
                Py_SETREF(site, origin_here(self));
            }
            if (site != NULL && (pool = pool_for(args[3], args[4], handover, site)) != NULL) {
                PyObject *once = args[3] == Py_None ? Py_False : Py_True;
                given = wrap_work(self, function, handover, site, pool, once);
            }
        }
    }
    Py_XDECREF(pool);
    Py_XDECREF(site);
    Py_XDECREF(handover);
    if (given == NULL && leave_to_python()) {
        PyObject *all[] = {ASK(self, OF_PROBE), args[0], args[1], args[2], args[3], args[4]};
        given = PyObject_VectorcallMethod(str_track, all, 6, NULL);
    }
    return given;
}

/* Return how long the calling thread has stood in the queue for a processor, as `read_clocks` in offloads.py; -1 where a
   file would have to be read. */
static long long
queued_ns(Offloader *self, int64_t cpu_ns, int64_t now_ns)
{
    if (cpu_ns <= PyLong_AsLongLong(ASK(self, OF_NEW_NS))) {
        return 0;
    }
    PyObject *number = PyLong_FromUnsignedLong(PyThread_get_thread_native_id());
    PyObject *asked = number == NULL ? NULL : PyDict_GetItemWithError(ASK(self, OF_DELAYS), number);
    Py_XDECREF(number);
    if (asked == NULL || !PyTuple_Check(asked) || PyTuple_GET_SIZE(asked) != 2
        || now_ns - PyLong_AsLongLong(PyTuple_GET_ITEM(asked, 0)) > PyLong_AsLongLong(ASK(self, OF_STALE_NS))) {
        return -1;
    }
    return PyLong_AsLongLong(PyTuple_GET_ITEM(asked, 1));
}

/* begin(work): see `OffloadProbe.begin` */
static PyObject *
offloader_begin(Offloader *self, PyObject *doing)
{
    PyObject *watch = NULL, *here_now = NULL, *clocks = NULL, *pool = NULL, *number = NULL, *lag = NULL,
             *threads = ASK(self, OF_THREADS), *sampler;
    struct rusage usage;
    clockid_t cpu_clock;
    long long submitted_ns;
    int begun = 0;
    int64_t wall = monotonic_ns(), cpu = time_of(CLOCK_THREAD_CPUTIME_ID);
    long long delay_ns;
    if (Py_IS_TYPE(doing, Py_TYPE(ASK(self, OF_OFFLOAD))) && ask_here(threads, &here_now) == 0
        && (delay_ns = queued_ns(self, cpu, wall)) >= 0 && !is_set(ASK(self, OF_WATCHES), str_closed)
        && (pool = read_slot(doing, &work_pool)) != NULL
        && (number = read_slot(doing, &work_number)) != NULL
        && slot_number(doing, &work_submitted_ns, &submitted_ns) == 0
        && pthread_getcpuclockid(pthread_self(), &cpu_clock) == 0) {
        int64_t process = time_of(CLOCK_PROCESS_CPUTIME_ID);
        getrusage(RUSAGE_THREAD, &usage);
        PyObject *args = Py_BuildValue("((LLLlLi))", (long long)wall, (long long)cpu, (long long)process,
                                       usage.ru_nvcsw, delay_ns, (int)cpu_clock);
        clocks = args == NULL ? NULL : PyTuple_Type.tp_new((PyTypeObject *)ASK(self, OF_CLOCKS), args, NULL);
        Py_XDECREF(args);
        if (clocks != NULL && (watch = copy_slots(ASK(self, OF_WATCH))) != NULL
            && write_slot(watch, &sink, doing) == 0 && write_slot(watch, &work, doing) == 0
            && write_slot(watch, &began, clocks) == 0) {
            begun = (pool != Py_None && pool_started(pool, number, wall - submitted_ns) < 0)
                            || put_here(threads, watch) < 0
                        ? -1
                        : 1;
        }
    }
    if (begun > 0) {
        sampler = awake_sampler(ASK(self, OF_WATCHES), &lag);
        if (sampler == NULL && lag != NULL && lag != Py_None) { /* it sleeps: it is to wake up, which is not the user's */
            PyObject *woken = write_slot(watch, &busy, Py_True) < 0
                                  ? NULL
                                  : PyObject_CallMethodOneArg(lag, str_begin, watch);
            Py_XDECREF(woken);
            if (write_slot(watch, &busy, Py_False) < 0 || woken == NULL) {
                begun = -1;
            }
        }
        Py_XDECREF(sampler);
        Py_XDECREF(lag);
    }
    if (begun <= 0) {
        Py_CLEAR(watch);
    }
    if (begun < 0 && leave_to_python()) { /* undo it, and let the probe find out what is wrong */
        begun = put_here(threads, NULL) < 0 || (pool != Py_None && pool_ended(pool) < 0) ? -1 : 0;
    }
    Py_XDECREF(number);
    Py_XDECREF(pool);
    Py_XDECREF(clocks);
    if (begun == 0 && leave_to_python()) {
        return PyObject_CallMethodOneArg(ASK(self, OF_PROBE), str_begin, doing);
    }
    return watch;
}

/* Tell whether work was handed over by the test that runs now: 1 or 0, or -1. */
static int
is_in_time(Offloader *self, PyObject *doing)
{
    PyObject *test = PyObject_GetAttr(ASK(self, OF_RECORDER), str_test);
    int same = test == NULL ? -1 : slot_is(doing, &work_test, test); /* one string for each test */
    Py_XDECREF(test);
    return same;
}

/* Tell whether work is one that a note says all of: 1 or 0, or -1. */
static int
says_little(PyObject *doing)
{
    PyObject *groups = NULL;
    int little = slot_is(doing, &work_hosted, Py_False) == 1 && slot_is(doing, &work_told, Py_False) == 1
                 && slot_is(doing, &work_noted, Py_False) == 1
                 && slot_is(doing, &work_since, Py_None) == 1
                 && (groups = read_slot(doing, &work_groups)) != NULL && PyDict_Check(groups)
                 && PyDict_GET_SIZE(groups) == 0;
    Py_XDECREF(groups);
    return little;
}

/* Return what is said of work: `note` of OffloadJudge, a new reference. */
static PyObject *
said_of(Offloader *self, PyObject *doing, PyObject *pool)
{
    PyObject *handover = NULL, *said = NULL, *key = NULL, *name = NULL, *site = NULL, *text = NULL, *touched = NULL,
             *permission = NULL, *pools_key = NULL, *function = read_slot(doing, &work_function);
    PyObject *carried = function == NULL ? NULL : work_of(self, function);
    if (carried == NULL || (name = read_slot(doing, &work_called)) == NULL) {
        goto end;
    }
    if (PyObject_IsTrue(name) == 0) {
        Py_SETREF(name, name_of_work(self, carried));
    }
    site = name == NULL ? NULL : read_slot(doing, &work_site);
    if (site == Py_None) {
        Py_SETREF(site, site_of(self, carried));
    }
    if (site == NULL || (touched = read_slot(doing, &work_touched)) == NULL) {
        goto end;
    }
    text = PyTuple_Check(touched) && PyTuple_GET_SIZE(touched) == 0 ? Py_NewRef(ASK(self, OF_COMPUTATION))
                                                                    : PyObject_GetAttr(doing, str_doing);
    permission = text == NULL ? NULL : read_slot(doing, &work_permission);
    handover = permission == NULL ? NULL : read_slot(doing, &work_handover);
    PyObject *last_pair = handover == NULL ? NULL : read_slot(handover, &last_said);
    if (last_pair == NULL) {
        goto end;
    }
    if (PyTuple_Check(last_pair) && PyTuple_GET_SIZE(last_pair) == 2
        && PyTuple_Check(key = PyTuple_GET_ITEM(last_pair, 0)) && PyTuple_GET_SIZE(key) == 5
        && (pools_key = pool == Py_None ? PyUnicode_New(0, 0) : read_slot(pool, &pool_key)) != NULL) {
        PyObject *now[] = {name, text, site, permission, pools_key};
        int same = 1;
        for (int each = 0; each < 5 && same == 1; each++) {
            same = PyObject_RichCompareBool(PyTuple_GET_ITEM(key, each), now[each], Py_EQ);
        }
        said = same == 1 ? Py_NewRef(PyTuple_GET_ITEM(last_pair, 1)) : NULL;
    }
    Py_DECREF(last_pair);
    if (said == NULL && !PyErr_Occurred()) {
        said = PyObject_CallMethodObjArgs(ASK(self, OF_JUDGE), str_note, doing, site, name, text, NULL);
    }
end:
    Py_XDECREF(pools_key);
    Py_XDECREF(handover);
    Py_XDECREF(permission);
    Py_XDECREF(text);
    Py_XDECREF(touched);
    Py_XDECREF(site);
    Py_XDECREF(name);
    Py_XDECREF(carried);
    Py_XDECREF(function);
    return said;
}

/* Count a note in: `Recorder.note`. 0, or -1. */
static int
take_note(Offloader *self, PyObject *said, long long taken_ns)
{
    PyObject *taken = PyLong_FromLongLong(taken_ns), *done = NULL;
    Py_ssize_t noted = taken == NULL ? -1 : PyObject_Size(ASK(self, OF_NOTED));
    if (noted >= 0 && noted + 1 < PyLong_AsSsize_t(ASK(self, OF_MOST_NOTED))) {
        PyObject *one = PyLong_FromLong(1);
        PyObject *entry = one == NULL ? NULL : PyTuple_Pack(4, said, one, taken, taken);
        done = entry == NULL ? NULL : PyObject_CallMethodOneArg(ASK(self, OF_NOTED), str_append, entry);
        Py_XDECREF(entry);
        Py_XDECREF(one);
    }
    else if (noted >= 0) {
        done = PyObject_CallMethodObjArgs(ASK(self, OF_RECORDER), str_note, said, taken, NULL);
    }
    Py_XDECREF(taken);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* end(work, on): see `OffloadProbe.end` */
static PyObject *
offloader_end(Offloader *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "end(work, on)");
        return NULL;
    }
    PyObject *doing = args[0], *on = args[1], *threads = ASK(self, OF_THREADS), *here_now = NULL, *clocks = NULL,
             *pool = NULL, *said = NULL;
    int ended = 0;
    long long explained;
    if (Py_IS_TYPE(doing, Py_TYPE(ASK(self, OF_OFFLOAD))) && ask_here(threads, &here_now) > 0 && here_now == on
        && slot_is(on, &below, Py_None) == 1 && slot_is(on, &call_now, Py_None) == 1
        && slot_is(on, &subject_now, Py_None) == 1 && slot_is(on, &loop_now, Py_None) == 1
        && says_little(doing) && is_in_time(self, doing) == 1 && (pool = read_slot(doing, &work_pool)) != NULL
        && slot_number(doing, &work_explained_ns, &explained) == 0
        && (clocks = read_slot(on, &began)) != NULL
        && Py_IS_TYPE(clocks, (PyTypeObject *)ASK(self, OF_CLOCKS))) {
        long long taken_ns = monotonic_ns() - PyLong_AsLongLong(PyTuple_GET_ITEM(clocks, 0));
        /* It is not on watch while it is named, which may run code; to take it off again does nothing. */
        if (!PyErr_Occurred() && taken_ns - explained < PyLong_AsLongLong(ASK(self, OF_UNSEEN_NS))
            && put_here(threads, NULL) == 0 && (said = said_of(self, doing, pool)) != NULL) {
            ended = (pool != Py_None && pool_ended(pool) < 0) || take_note(self, said, taken_ns) < 0 ? -1 : 1;
        }
    }
    Py_XDECREF(said);
    Py_XDECREF(clocks);
    Py_XDECREF(pool);
    if (ended == 0 && leave_to_python()) {
        PyObject *all[] = {ASK(self, OF_PROBE), doing, on};
        return PyObject_VectorcallMethod(str_end, all, 3, NULL);
    }
    if (ended <= 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
offloader_traverse(Offloader *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->asks);
    return 0;
}

static void
offloader_dealloc(Offloader *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->asks);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Offloader(asks) */
static PyObject *
offloader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const unsigned char dicts[] = {OF_HANDOVERS, OF_ENDS, OF_SITES, OF_ROLES, OF_POOLS, OF_FILE_CALLS, OF_DELAYS,
                                          OF_SPOKEN};
    static const unsigned char types[] = {OF_CLOCKS, OF_PARTIAL, OF_THREAD};
    static const unsigned char numbers[] = {OF_MOST_NOTED, OF_MOST_POOLS, OF_NEW_NS, OF_STALE_NS, OF_UNSEEN_NS};
    PyObject *asks;
    if (!takes_no_names("Offloader", kwargs)
        || !PyArg_ParseTuple(args, "O!:Offloader", &PyTuple_Type, &asks)) {
        return NULL;
    }
    int wrong = PyTuple_GET_SIZE(asks) != OF_ASKS || !is_threads(PyTuple_GET_ITEM(asks, OF_THREADS))
                || Py_TYPE(PyTuple_GET_ITEM(asks, OF_NOTER))->tp_dealloc != (destructor)noter_dealloc
                || !PyContextVar_CheckExact(PyTuple_GET_ITEM(asks, OF_PERMISSION))
                || !PyIter_Check(PyTuple_GET_ITEM(asks, OF_NUMBERS));
    for (size_t each = 0; !wrong && each < sizeof(dicts); each++) {
        wrong = !PyDict_Check(PyTuple_GET_ITEM(asks, dicts[each]));
    }
    for (size_t each = 0; !wrong && each < sizeof(types); each++) {
        wrong = !PyType_Check(PyTuple_GET_ITEM(asks, types[each]));
    }
    for (size_t each = 0; !wrong && each < sizeof(numbers); each++) {
        wrong = !PyLong_Check(PyTuple_GET_ITEM(asks, numbers[each]));
    }
    if (wrong || !PyType_IsSubtype((PyTypeObject *)PyTuple_GET_ITEM(asks, OF_CLOCKS), &PyTuple_Type)) {
        PyErr_SetString(PyExc_TypeError, "not what an offloader asks");
        return NULL;
    }
    Offloader *self = (Offloader *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->asks = Py_NewRef(asks);
    }
    return (PyObject *)self;
}

static PyMethodDef offloader_methods[] = {
    {"track", (PyCFunction)(void (*)(void))offloader_track, METH_FASTCALL,
     "Return a function, watched while it runs in a thread."},
    {"begin", (PyCFunction)offloader_begin, METH_O, "Watch the calling thread, which begins with work."},
    {"end", (PyCFunction)(void (*)(void))offloader_end, METH_FASTCALL,
     "Watch the calling thread for it no longer, and judge what was done."},
    {NULL},
};

static PyType_Slot offloader_slots[] = {
    {Py_tp_new, offloader_new},
    {Py_tp_dealloc, offloader_dealloc},
    {Py_tp_traverse, offloader_traverse},
    {Py_tp_methods, offloader_methods},
    {0, NULL},
};

static PyType_Spec offloader_spec = {
    .name = "pytest_truasync._detect._native.Offloader",
    .basicsize = sizeof(Offloader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = offloader_slots,
};

#endif /* __linux__ */

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

/* -- what lives as long as the run, apart from what the garbage collector visits: each full collection would be dearer
   for it. As `gc.freeze` does, but for our own objects alone, it stands in a list of its own until it dies or is given
   back; the collector takes what it refers to for alive. */

#if PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED)
#define HAS_APART

typedef struct Link { /* `PyGC_Head`, which stands before each object that the collector can know */
    uintptr_t next;
    uintptr_t prev; /* its two lowest bits are flags */
} Link;

#define LINK_FLAGS ((uintptr_t)3)
#define COLLECTED_NOW ((uintptr_t)2) /* what a collection under way has found to be garbage has this flag */
#define LINK_OF(object) ((Link *)(object) - 1)
#define AFTER(link) ((Link *)(link)->next)
#define BEFORE(link) ((Link *)((link)->prev & ~LINK_FLAGS))
#define DEEPEST_TUPLE 10

static Link apart = {(uintptr_t)&apart, (uintptr_t)&apart}; /* a ring */

static void
join_links(Link *before, Link *after)
{
    before->next = (uintptr_t)after;
    after->prev = (after->prev & LINK_FLAGS) | (uintptr_t)before;
}

/* Tell whether a link is what it is taken for: part of a list, and empty as soon as its object is untracked. */
static int
knows_links(void)
{
    PyObject *object = PyList_New(0);
    if (object == NULL) {
        PyErr_Clear();
        return 0;
    }
    Link *link = LINK_OF(object);
    int known = PyObject_GC_IsTracked(object) && AFTER(link) != NULL && BEFORE(link) != NULL
                && BEFORE(AFTER(link)) == link && AFTER(BEFORE(link)) == link;
    PyObject_GC_UnTrack(object);
    known = known && AFTER(link) == NULL && BEFORE(link) == NULL;
    Py_DECREF(object);
    return known;
}

static void
put_apart(PyObject *object, int depth)
{
    Link *link = LINK_OF(object);
    if (PyObject_IS_GC(object) && PyObject_GC_IsTracked(object) && !(link->prev & COLLECTED_NOW)) {
        join_links(BEFORE(link), AFTER(link));
        join_links(BEFORE(&apart), link);
        join_links(link, &apart);
    }
    if (PyTuple_Check(object) && depth < DEEPEST_TUPLE) {
        for (Py_ssize_t each = 0; each < PyTuple_GET_SIZE(object); each++) {
            PyObject *item = PyTuple_GET_ITEM(object, each);
            if (item != NULL && PyTuple_Check(item)) {
                put_apart(item, depth + 1);
            }
        }
    }
}

/* set_apart(objects): these, and the tuples in those that are tuples */
static PyObject *
set_apart(PyObject *unused, PyObject *objects)
{
    if (!PyList_CheckExact(objects) && !PyTuple_CheckExact(objects)) {
        PyErr_SetString(PyExc_TypeError, "set_apart(objects: list or tuple)");
        return NULL;
    }
    for (Py_ssize_t each = 0; each < PySequence_Fast_GET_SIZE(objects); each++) {
        put_apart(PySequence_Fast_GET_ITEM(objects, each), 0);
    }
    Py_RETURN_NONE;
}

static PyObject *
give_back(PyObject *unused, PyObject *nothing)
{
    while (AFTER(&apart) != &apart) {
        PyObject *object = (PyObject *)(AFTER(&apart) + 1);
        PyObject_GC_UnTrack(object);
        PyObject_GC_Track(object);
    }
    Py_RETURN_NONE;
}

static PyMethodDef apart_functions[] = {
    {"set_apart", set_apart, METH_O, "Let the garbage collector not visit these objects."},
    {"give_back", give_back, METH_NOARGS, "Let it visit all of them again."},
    {NULL},
};

#endif

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
    {"turns", turns, METH_NOARGS, "How often the calling thread got a processor."},
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
        &offloader_spec,
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
#ifdef HAS_APART
    if (knows_links() && PyModule_AddFunctions(module, apart_functions) < 0) {
        return -1;
    }
#endif
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
