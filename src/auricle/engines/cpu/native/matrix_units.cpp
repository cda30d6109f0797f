// What a library says of itself: which sources it is made of, and whether the system lets it use matrix units.
#include <sys/syscall.h>
#include <unistd.h>

#include "parallel.h"

// The number of the sources that this library was compiled from, native_sources.py's; others call it otherwise.
AURICLE_EXPORT uint64_t auricle_sources() { return AURICLE_SOURCES; }

// Whether this process may use everything that the library was compiled for; asked once, for all of its threads.
AURICLE_EXPORT int32_t auricle_prepare() {
#ifdef __AMX_INT8__
  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), of <asm/prctl.h>, which older systems' headers lack.
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return 1;
#endif
}

// Whether products are computed there.
AURICLE_EXPORT int32_t auricle_uses_matrix_units() {
#ifdef __AMX_INT8__
  return 1;
#else
  return 0;
#endif
}
