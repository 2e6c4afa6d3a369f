// SPDY compresses headers with zlib (its draft 3.1, section 2.6.10.1); nothing else here needs it.
#include <zlib.h>
