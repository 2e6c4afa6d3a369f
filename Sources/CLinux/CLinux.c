#include "CLinux.h"

/* Everything in this module is a declaration or an inline function; the package manager needs one
 * source file to build it. */
