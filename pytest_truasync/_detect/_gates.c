/* What spares a Python function of ours where it would only hand a call on, and the walks of stacks.

   A gate stands in front of a wrapper in Python. It lets a call through to the original where the
   wrapper would do that and nothing else (a loop that waits for its events it also notes as parked);
   any other call goes to the wrapper, which asks again by itself. So a gate decides nothing: without
   this module the wrappers stand alone, see gates.py. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>

/* Raised with each change, so that a module that was built of another source is not used. */
#define REVISION 3

/* Names of attributes. */
static PyObject *str_busy, *str_call, *str_cr_code, *str_open_call, *str_parked, *str_renew_ns,
    *str_round, *str_work;

static const struct {
    PyObject **place;
    const char *name;
} strings[] = {
    {&str_busy, "busy"},         {&str_call, "__call__"}, {&str_cr_code, "cr_code"},
    {&str_open_call, "call"},    {&str_parked, "parked"}, {&str_renew_ns, "renew_ns"},
    {&str_round, "round"},       {&str_work, "work"},
};

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *dict;
    PyObject *weakrefs;
    PyObject *threads;  /* dict: number of a thread -> what is known of it while it is watched */
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
static int
find_watch(Gate *gate, PyObject **watch)
{
    if (PyDict_GET_SIZE(gate->threads) == 0) {
        return 0;
    }
    PyObject *number = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (number == NULL) {
        return -1;
    }
    *watch = PyDict_GetItemWithError(gate->threads, number);
    Py_DECREF(number);
    if (*watch == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    Py_INCREF(*watch);
    return 1;
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

/* -- kind "plain": passes off the watched threads */

static PyObject *
gate_plain(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    return pass_or_wrap((Gate *)self, args, nargsf, kwnames, NULL);
}

/* -- kind "call": and where the watch is busy, or the caller is nobody's */

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
    PyObject *busy = PyObject_GetAttr(watch, str_busy);
    if (busy == NULL) {
        return -1;
    }
    Py_DECREF(busy);
    if (busy == Py_True) {
        return 1;
    }
    PyObject *work = PyObject_GetAttr(watch, str_work);
    if (work == NULL) {
        return -1;
    }
    Py_DECREF(work);
    return work == Py_None ? is_nobodys(gate) : 0;
}

static PyObject *
gate_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    return pass_or_wrap((Gate *)self, args, nargsf, kwnames, ask_call);
}

/* -- kind "lock": a free one is taken at once, on any thread */

static PyObject *
gate_lock(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Gate *gate = (Gate *)self;
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
    return pass_or_wrap(gate, args, nargsf, kwnames, NULL);
}

/* -- kind "socket": at timeout 0 it never waits */

static int
ask_socket(Gate *gate, PyObject *watch, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (PyVectorcall_NARGS(nargsf) == 0) {
        return 1; /* the call itself says so */
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

/* -- kind "poll": without waiting, until it is of use to say again that the loop came round; and
   where the loop waits for its events, which is then on record */

/* Tell whether the calling thread asks for the events of its loop: `Watch.round` is what does. */
static int
asks_for_events(PyObject *watch)
{
    PyObject *round = PyObject_GetAttr(watch, str_round);
    if (round == NULL) {
        return -1;
    }
    Py_DECREF(round); /* compared only */
    PyFrameObject *frame = round == Py_None ? NULL : PyEval_GetFrame();
    if (frame == NULL) {
        return 0;
    }
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    Py_DECREF(code);
    PyFrameObject *above = code == round ? NULL : PyFrame_GetBack(frame);
    if (above != NULL) {
        code = (PyObject *)PyFrame_GetCode(above);
        Py_DECREF(code);
        Py_DECREF(above);
    }
    return code == round;
}

/* Tell whether it is of use to say that the loop came round: 1 and the time, else 0, or -1. */
static int
is_due(Gate *gate, PyObject *watch, PyObject **now)
{
    PyObject *renew = PyObject_GetAttr(watch, str_renew_ns);
    if (renew == NULL) {
        return -1;
    }
    *now = PyObject_CallNoArgs(gate->ask[0]);
    int due = *now == NULL ? -1 : PyObject_RichCompareBool(*now, renew, Py_GE);
    Py_DECREF(renew);
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
    PyObject *result = pass(gate, args, nargsf, NULL);
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
    int found = find_watch(gate, &watch);
    if (found <= 0) {
        return found < 0 ? NULL : pass(gate, args, nargsf, kwnames);
    }
    enum { PASS, PARK, WRAP } way = WRAP;
    if (kwnames == NULL && PyVectorcall_NARGS(nargsf) >= 2) {
        PyObject *timeout = args[1];
        int at_once = PyLong_CheckExact(timeout)
                          ? !PyObject_IsTrue(timeout)
                          : PyFloat_CheckExact(timeout) && PyFloat_AS_DOUBLE(timeout) == 0.0;
        if (at_once) {
            found = is_due(gate, watch, &now);
            if (found > 0) {
                Py_DECREF(now);
            }
            way = found ? WRAP : PASS;
        }
        else {
            PyObject *call = PyObject_GetAttr(watch, str_open_call);
            found = call == NULL ? -1 : call == Py_None && asks_for_events(watch);
            Py_XDECREF(call);
            way = found ? PARK : WRAP;
        }
    }
    if (found >= 0) {
        result = way == PASS   ? pass(gate, args, nargsf, kwnames)
                 : way == PARK ? park(gate, watch, args, nargsf)
                               : PyObject_Vectorcall(gate->wrapper, args, nargsf, kwnames);
    }
    Py_DECREF(watch);
    return result;
}

/* -- the type */

static const struct {
    const char *name;
    vectorcallfunc call;
} kinds[] = {
    {"plain", gate_plain}, {"call", gate_call}, {"lock", gate_lock},
    {"socket", gate_socket}, {"poll", gate_poll},
};

static PyObject *
gate_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    const char *kind;
    PyObject *threads, *original, *wrapper, *ask[] = {Py_None, Py_None, Py_None};
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Gate() takes no arguments by name");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "sO!OO|OOO:Gate", &kind, &PyDict_Type, &threads, &original,
                          &wrapper, &ask[0], &ask[1], &ask[2])) {
        return NULL;
    }
    vectorcallfunc call = NULL;
    for (size_t each = 0; each < Py_ARRAY_LENGTH(kinds); each++) {
        if (strcmp(kind, kinds[each].name) == 0) {
            call = kinds[each].call;
        }
    }
    if (call == NULL) {
        PyErr_Format(PyExc_ValueError, "no gate of the kind '%s'", kind);
        return NULL;
    }
    if (call == gate_call && !PyDict_Check(ask[0])) {
        PyErr_SetString(PyExc_TypeError, "a gate of the kind 'call' asks a dict");
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
    .name = "pytest_truasync._detect._gates.Gate",
    .basicsize = sizeof(Gate),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = gate_slots,
};

/* -- the C code of a builtin that runs what stands in its module's place, see patches.py */

static PyObject *
call_stand(PyObject *stand, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *function = PyObject_GetAttr(stand, str_call);
    if (function == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_Vectorcall(function, args, (size_t)nargs, kwnames);
    Py_DECREF(function);
    return result;
}

/* -- walks of stacks: one step of them takes longer in Python than all else of it */

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
    PyObject *landmarks; /* dict: name of a file -> its role, or None for no landmark */
    PyObject *user, *loop, *quiet;
    PyObject *calling_back, *runners; /* sets of names of functions */
    PyObject *endings;                /* tuple of codes of coroutines that tell nothing */
} Walker;

/* Find the innermost of the user's frames, up to the loop's callback; takes `frame` over.
   1 where there is one, 0 where there is none, -1 on error. */
static int
walk(Walker *walker, PyFrameObject *frame, PyFrameObject **found)
{
    int in_loop = 1, ended = 0;
    while (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        PyObject *role = role_of(walker->landmarks, code->co_filename);
        if (role == NULL) {
            ended = -1;
        }
        else if (in_loop && role == walker->loop) {
            ended = PySet_Contains(walker->calling_back, code->co_name);
        }
        else {
            in_loop = 0;
            if (role == walker->user) {
                Py_DECREF(code);
                *found = frame;
                return 1;
            }
            if (role == walker->quiet) {
                ended = 1;
            }
            else if (role != Py_None) {
                ended = PySet_Contains(walker->runners, code->co_name);
            }
        }
        Py_DECREF(code);
        PyFrameObject *back = ended ? NULL : PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    return ended < 0 ? -1 : 0;
}

/* Look up the user's line that made a task: 1 and new references, 0 where none is known, or -1. */
static int
origin_of(PyObject *tasks, PyObject *task, PyObject **code, PyObject **instruction)
{
    Py_hash_t hash = PyObject_Hash(task);
    if (hash == -1) {
        return -1;
    }
    PyObject *number = PyLong_FromSsize_t(hash);
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
    Py_hash_t hash = entry == NULL ? -1 : PyObject_Hash(task);
    PyObject *number = hash == -1 ? NULL : PyLong_FromSsize_t(hash);
    int noted = number == NULL ? -1 : PyDict_SetItem(tasks, number, entry);
    Py_XDECREF(number);
    Py_XDECREF(entry);
    return noted;
}

/* Tell whether the coroutine of a new task says by itself all that its line could. */
static int
tells_itself(Walker *walker, PyObject *coroutine)
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
    for (Py_ssize_t each = 0; each < PyTuple_GET_SIZE(walker->endings); each++) {
        tells |= code == PyTuple_GET_ITEM(walker->endings, each);
    }
    if (!tells && PyCode_Check(code)) {
        PyObject *role = role_of(walker->landmarks, ((PyCodeObject *)code)->co_filename);
        tells = role == NULL ? -1 : role == walker->user;
    }
    Py_DECREF(code);
    return tells;
}

/* note_task(tasks, task, coroutine, maker), called by what makes a task: LoopProbe._note_task. */
static PyObject *
note_task(Walker *walker, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 4 || !PyDict_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "note_task(tasks, task, coroutine, maker)");
        return NULL;
    }
    PyObject *tasks = args[0], *task = args[1], *maker = args[3];
    int done = tells_itself(walker, args[2]);
    if (done == 0) {
        PyFrameObject *wrapper = PyEval_GetFrame(), *found = NULL;
        PyObject *code = NULL, *instruction = NULL;
        done = wrapper == NULL ? 0 : walk(walker, PyFrame_GetBack(wrapper), &found);
        if (done > 0) {
            code = (PyObject *)PyFrame_GetCode(found);
            instruction = PyLong_FromLong(PyFrame_GetLasti(found));
            done = instruction == NULL ? -1 : 1;
            Py_DECREF(found);
        }
        else if (done == 0 && maker != Py_None) {
            done = origin_of(tasks, maker, &code, &instruction);
        }
        if (done > 0) {
            done = note(tasks, task, code, instruction);
        }
        Py_XDECREF(code);
        Py_XDECREF(instruction);
    }
    if (done < 0) { /* a task of a kind that cannot be noted; lines are lost */
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return NULL;
        }
        PyErr_Clear();
    }
    Py_RETURN_NONE;
}

static PyObject *
walker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *landmarks, *user, *loop, *quiet, *calling_back, *runners, *endings;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Walker() takes no arguments by name");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!OOOO!O!O!:Walker", &PyDict_Type, &landmarks, &user, &loop, &quiet,
                          &PyFrozenSet_Type, &calling_back, &PyFrozenSet_Type, &runners,
                          &PyTuple_Type, &endings)) {
        return NULL;
    }
    Walker *walker = (Walker *)type->tp_alloc(type, 0);
    if (walker == NULL) {
        return NULL;
    }
    walker->landmarks = Py_NewRef(landmarks);
    walker->user = Py_NewRef(user);
    walker->loop = Py_NewRef(loop);
    walker->quiet = Py_NewRef(quiet);
    walker->calling_back = Py_NewRef(calling_back);
    walker->runners = Py_NewRef(runners);
    walker->endings = Py_NewRef(endings);
    return (PyObject *)walker;
}

static int
walker_traverse(Walker *walker, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(walker));
    Py_VISIT(walker->landmarks);
    return 0;
}

static void
walker_dealloc(Walker *walker)
{
    PyTypeObject *type = Py_TYPE(walker);
    PyObject_GC_UnTrack(walker);
    Py_XDECREF(walker->landmarks);
    Py_XDECREF(walker->user);
    Py_XDECREF(walker->loop);
    Py_XDECREF(walker->quiet);
    Py_XDECREF(walker->calling_back);
    Py_XDECREF(walker->runners);
    Py_XDECREF(walker->endings);
    type->tp_free(walker);
    Py_DECREF(type);
}

static PyMethodDef walker_methods[] = {
    {"note_task", (PyCFunction)(void (*)(void))note_task, METH_FASTCALL,
     "Note the user's line that made a task, above the calling function."},
    {NULL},
};

static PyType_Slot walker_slots[] = {
    {Py_tp_new, walker_new},
    {Py_tp_dealloc, walker_dealloc},
    {Py_tp_traverse, walker_traverse},
    {Py_tp_methods, walker_methods},
    {0, NULL},
};

static PyType_Spec walker_spec = {
    .name = "pytest_truasync._detect._gates.Walker",
    .basicsize = sizeof(Walker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = walker_slots,
};

#define MOST_PLACES 400

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

static PyMethodDef functions[] = {
    {"stack_key", (PyCFunction)(void (*)(void))stack_key, METH_FASTCALL,
     "Codes, by number, and instructions of a stack, up to one of the ends."},
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
    PyType_Spec *specs[] = {&gate_spec, &walker_spec};
    for (size_t each = 0; each < Py_ARRAY_LENGTH(specs); each++) {
        PyObject *type = PyType_FromModuleAndSpec(module, specs[each], NULL);
        if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
            Py_XDECREF(type);
            return -1;
        }
        Py_DECREF(type);
    }
    PyObject *address = PyLong_FromVoidPtr((void *)call_stand);
    if (address == NULL || PyModule_AddObjectRef(module, "call_stand", address) < 0) {
        Py_XDECREF(address);
        return -1;
    }
    Py_DECREF(address);
    return PyModule_AddIntMacro(module, REVISION);
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
    .m_name = "_gates",
    .m_doc = "What spares Python functions of ours; see gates.py.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__gates(void)
{
    return PyModuleDef_Init(&definition);
}
