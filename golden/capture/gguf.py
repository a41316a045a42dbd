"""The reference's GGUF reader and writer (`gguf_*` of its libggml-base) through ctypes."""

import ctypes
import os

import llama_cpp

BASE = ctypes.CDLL(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))

# gguf_type: name, and the C type of a value; strings have none, arrays are told apart first.
TYPES = {
    0: ("u8", ctypes.c_uint8),
    1: ("i8", ctypes.c_int8),
    2: ("u16", ctypes.c_uint16),
    3: ("i16", ctypes.c_int16),
    4: ("u32", ctypes.c_uint32),
    5: ("i32", ctypes.c_int32),
    6: ("f32", ctypes.c_float),
    7: ("bool", ctypes.c_bool),
    8: ("str", None),
    9: ("arr", None),
    10: ("u64", ctypes.c_uint64),
    11: ("i64", ctypes.c_int64),
    12: ("f64", ctypes.c_double),
}
STR, ARR = 8, 9


class InitParams(ctypes.Structure):
    """`struct gguf_init_params`."""

    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.POINTER(ctypes.c_void_p))]


def _declare():
    ptr, i64, size, text = ctypes.c_void_p, ctypes.c_int64, ctypes.c_size_t, ctypes.c_char_p
    signatures = {
        "gguf_init_from_file": (ptr, [text, InitParams]),
        "gguf_init_from_buffer": (ptr, [ptr, size, InitParams]),
        "gguf_free": (None, [ptr]),
        "gguf_get_version": (ctypes.c_uint32, [ptr]),
        "gguf_get_alignment": (size, [ptr]),
        "gguf_get_data_offset": (size, [ptr]),
        "gguf_get_n_kv": (i64, [ptr]),
        "gguf_get_key": (text, [ptr, i64]),
        "gguf_get_kv_type": (ctypes.c_int, [ptr, i64]),
        "gguf_get_arr_type": (ctypes.c_int, [ptr, i64]),
        "gguf_get_arr_n": (size, [ptr, i64]),
        "gguf_get_arr_data": (ptr, [ptr, i64]),
        "gguf_get_arr_str": (text, [ptr, i64, size]),
        "gguf_get_val_str": (text, [ptr, i64]),
        "gguf_type_name": (text, [ctypes.c_int]),
        "gguf_get_n_tensors": (i64, [ptr]),
        "gguf_get_tensor_name": (text, [ptr, i64]),
        "gguf_get_tensor_type": (ctypes.c_int, [ptr, i64]),
        "gguf_get_tensor_ne": (ctypes.POINTER(i64), [ptr, i64]),
        "gguf_get_tensor_offset": (size, [ptr, i64]),
        "gguf_get_tensor_size": (size, [ptr, i64]),
        "gguf_get_meta_size": (size, [ptr]),
        "gguf_get_meta_data": (None, [ptr, ptr]),
        "ggml_free": (None, [ptr]),
        "ggml_get_tensor": (ptr, [ptr, text]),
        "ggml_get_data": (ptr, [ptr]),
        "ggml_type_name": (text, [ctypes.c_int]),
        "ggml_blck_size": (i64, [ctypes.c_int]),
        "ggml_type_size": (size, [ctypes.c_int]),
    }
    for id, (name, c_type) in TYPES.items():
        if c_type is not None:
            signatures[f"gguf_get_val_{name}"] = (c_type, [ptr, i64])
    for name, (result, arguments) in signatures.items():
        function = getattr(BASE, name)
        function.restype, function.argtypes = result, arguments


_declare()


@llama_cpp.llama_log_callback
def _silent(_level, _text, _user_data):
    pass


if not os.environ.get("REFERENCE_LOG"):
    BASE.ggml_log_set(_silent, None)


class File:
    """A GGUF file, read whole by the reference."""

    def __init__(self, path):
        self._tensors = ctypes.c_void_p()
        params = InitParams(False, ctypes.pointer(self._tensors))
        self._ctx = BASE.gguf_init_from_file(str(path).encode(), params)
        if not self._ctx:
            raise SystemExit(f"the reference cannot read {os.path.basename(path)}")
        for id, (name, _) in TYPES.items():
            assert BASE.gguf_type_name(id).decode() == name, name

    def close(self):
        """Frees it."""
        BASE.gguf_free(self._ctx)
        BASE.ggml_free(self._tensors)

    def call(self, name, *arguments):
        """`gguf_<name>` of this file."""
        return getattr(BASE, f"gguf_{name}")(self._ctx, *arguments)

    def pairs(self):
        """(key, type name, value); an array is (type name of its elements, list)."""
        for i in range(self.call("get_n_kv")):
            type_id = self.call("get_kv_type", i)
            value = self._array(i) if type_id == ARR else self._scalar(i, type_id)
            yield self.call("get_key", i), TYPES[type_id][0], value

    def _scalar(self, i, type_id):
        return self.call(f"get_val_{TYPES[type_id][0]}", i)

    def _array(self, i):
        name, c_type = TYPES[self.call("get_arr_type", i)]
        n = self.call("get_arr_n", i)
        if c_type is None:
            return name, [self.call("get_arr_str", i, j) for j in range(n)]
        return name, list((c_type * n).from_address(self.call("get_arr_data", i))) if n else []

    def tensors(self):
        """(name, type name, dimensions, offset, bytes of the data), in the order of the file."""
        for i in range(self.call("get_n_tensors")):
            name = self.call("get_tensor_name", i)
            size = self.call("get_tensor_size", i)
            data = BASE.ggml_get_data(BASE.ggml_get_tensor(self._tensors, name))
            type_name = BASE.ggml_type_name(self.call("get_tensor_type", i)).decode()
            ne = self.call("get_tensor_ne", i)[:4]
            yield name, type_name, ne, self.call("get_tensor_offset", i), ctypes.string_at(data, size)

    def header_written_again(self):
        """What the reference's writer makes of it: everything before the data section."""
        buffer = ctypes.create_string_buffer(self.call("get_meta_size"))
        self.call("get_meta_data", buffer)
        return buffer.raw


def accepts(data):
    """Whether the reference's parser accepts these bytes; it does not look at tensor data."""
    ctx = BASE.gguf_init_from_buffer(data, len(data), InitParams(True, None))
    if not ctx:
        return False
    BASE.gguf_free(ctx)
    return True


def tensor_types():
    """(id, name, elements and bytes of a block) of every tensor type that is in use."""
    for id in range(llama_cpp.GGML_TYPE_COUNT):
        if BASE.ggml_blck_size(id) > 0:
            yield id, BASE.ggml_type_name(id).decode(), BASE.ggml_blck_size(id), BASE.ggml_type_size(id)
