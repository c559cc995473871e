/* Stands in for the kernel's, so that oom_policy.h compiles for a process. */
#define clamp(value, low, high) ((value) < (low) ? (low) : (value) > (high) ? (high) : (value))
