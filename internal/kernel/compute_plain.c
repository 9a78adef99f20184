// Any processor: vectors of four floats, which every 64-bit one has.
#define SET plain
#define WIDTH 4

#include "body.h"
