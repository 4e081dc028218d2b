/* What spares a Python function of ours where it would only hand a call on, and the walks of stacks.

   A gate stands in front of a wrapper in Python. It lets a call through to the original where the
   wrapper would do that and nothing else; any other call goes to the wrapper, which asks again by
   itself. So a gate decides nothing: without this module the wrappers stand alone, see gates.py. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>

/* Raised with each change, so that a module that was built of another source is not used. */
#define REVISION 2

static PyObject *str_busy, *str_call, *str_renew_ns, *str_work;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *dict;
    PyObject *weakrefs;
    PyObject *threads;  /* dict: number of a thread -> what is known of it while it is watched */
    PyObject *original;
    PyObject *wrapper;
    PyObject *ask;      /* what else tells that a call may pass; by kind */
    PyObject *quiet;    /* roles of files whose calls are nobody's; of kind "call" */
    PyObject *import;
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
    PyObject *role = PyDict_GetItemWithError(gate->ask, code->co_filename);
    Py_DECREF(code);
    if (role == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return role == gate->quiet || role == gate->import;
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
        PyObject *got = PyObject_Vectorcall(gate->ask, try, 2, NULL);
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
    PyObject *timeout = PyObject_CallOneArg(gate->ask, args[0]);
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

/* -- kind "poll": without waiting, until it is of use to say again that the loop came round */

static int
ask_poll(Gate *gate, PyObject *watch, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (kwnames != NULL || PyVectorcall_NARGS(nargsf) < 2) {
        return 0;
    }
    PyObject *timeout = args[1];
    if (PyLong_CheckExact(timeout) ? PyObject_IsTrue(timeout) != 0
                                   : !PyFloat_CheckExact(timeout) || PyFloat_AS_DOUBLE(timeout) != 0.0) {
        return 0;
    }
    PyObject *renew = PyObject_GetAttr(watch, str_renew_ns);
    if (renew == NULL) {
        return -1;
    }
    PyObject *now = PyObject_CallNoArgs(gate->ask);
    int early = now == NULL ? -1 : PyObject_RichCompareBool(now, renew, Py_LT);
    Py_XDECREF(now);
    Py_DECREF(renew);
    return early;
}

static PyObject *
gate_poll(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    return pass_or_wrap((Gate *)self, args, nargsf, kwnames, ask_poll);
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
    PyObject *threads, *original, *wrapper, *ask = Py_None, *quiet = Py_None, *import = Py_None;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Gate() takes no arguments by name");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "sO!OO|OOO:Gate", &kind, &PyDict_Type, &threads, &original,
                          &wrapper, &ask, &quiet, &import)) {
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
    if (call == gate_call && !PyDict_Check(ask)) {
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
    gate->ask = Py_NewRef(ask);
    gate->quiet = Py_NewRef(quiet);
    gate->import = Py_NewRef(import);
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
    Py_VISIT(gate->ask);
    Py_VISIT(gate->quiet);
    Py_VISIT(gate->import);
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
    Py_XDECREF(gate->ask);
    Py_XDECREF(gate->quiet);
    Py_XDECREF(gate->import);
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

static PyObject *
user_frame(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 7 || !PyDict_Check(args[0]) || !PyFrame_Check(args[6])) {
        PyErr_SetString(PyExc_TypeError, "user_frame(landmarks, user, loop, quiet, calling_back, "
                                         "runners, frame)");
        return NULL;
    }
    PyObject *landmarks = args[0], *user = args[1], *loop = args[2], *quiet = args[3];
    PyFrameObject *frame = (PyFrameObject *)Py_NewRef(args[6]);
    int in_loop = 1, ended = 0;
    while (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        PyObject *role = role_of(landmarks, code->co_filename);
        if (role == NULL) {
            ended = -1;
        }
        else if (in_loop && role == loop) {
            ended = PySet_Contains(args[4], code->co_name);
        }
        else {
            in_loop = 0;
            if (role == user) {
                Py_DECREF(code);
                return (PyObject *)frame;
            }
            if (role != Py_None) {
                ended = role == quiet ? 1 : PySet_Contains(args[5], code->co_name);
            }
        }
        Py_DECREF(code);
        PyFrameObject *back = ended ? NULL : PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    if (ended < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

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
    {"user_frame", (PyCFunction)(void (*)(void))user_frame, METH_FASTCALL,
     "See FrameReader.user_frame."},
    {"stack_key", (PyCFunction)(void (*)(void))stack_key, METH_FASTCALL,
     "Codes, by number, and instructions of a stack, up to one of the ends."},
    {NULL},
};

static int
fill(PyObject *module)
{
    str_busy = PyUnicode_InternFromString("busy");
    str_call = PyUnicode_InternFromString("__call__");
    str_renew_ns = PyUnicode_InternFromString("renew_ns");
    str_work = PyUnicode_InternFromString("work");
    if (!str_busy || !str_call || !str_renew_ns || !str_work) {
        return -1;
    }
    PyObject *type = PyType_FromModuleAndSpec(module, &gate_spec, NULL);
    if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_XDECREF(type);
        return -1;
    }
    Py_DECREF(type);
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
