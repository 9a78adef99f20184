//go:build cgo

package kernel

/*
#cgo CFLAGS: -O3 -Wall
#cgo LDFLAGS: -ldl -lm
#include <stdlib.h>
const char *mes_register(const char *path, char **fault);
*/
import "C"

import (
	"errors"
	"unsafe"
)

// Register makes the kernels known to the PJRT plugin at path, which is loaded,
// and gives the vector instructions that they use.
func Register(path string) (string, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var fault *C.char
	set := C.mes_register(name, &fault)
	if fault != nil {
		defer C.free(unsafe.Pointer(fault))
		return "", errors.New(C.GoString(fault))
	}
	return C.GoString(set), nil
}
