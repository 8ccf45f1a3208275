// All kernels, compiled once for each instruction set. ENFOLD_ISA is the set's name and a namespace, so that no function
// compiled for one processor is taken for that of another.

#include "kernels.h"

#include "attention.h"
#include "gemm_blocks.h"
#include "gemm_bytes.h"
#include "gemm_float.h"
#include "rows.h"

#define ENFOLD_TEXT_(x) #x
#define ENFOLD_TEXT(x) ENFOLD_TEXT_(x)
#define ENFOLD_JOIN_(a, b) a##b
#define ENFOLD_JOIN(a, b) ENFOLD_JOIN_(a, b)

const Kernels ENFOLD_JOIN(ENFOLD_ISA, _kernels) = {
    ENFOLD_TEXT(ENFOLD_ISA),
    ENFOLD_ISA::gemm_float,
    ENFOLD_ISA::gemm_bytes,
    ENFOLD_ISA::gemm_blocks,
    ENFOLD_ISA::block_rows_at,
    ENFOLD_ISA::attend,
    ENFOLD_ISA::encode_key,
    ENFOLD_ISA::rotate,
    ENFOLD_ISA::join,
    ENFOLD_ISA::log_softmax,
    ENFOLD_ISA::highest_of_rows,
};
