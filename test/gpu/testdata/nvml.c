/* A libnvidia-ml.so.1 that knows as many GPUs as FAKE_NVML_GPUS says, for hosts without any. FAKE_NVML_SALT is part of
 * their UUIDs, so that tests do not hold each other's. With -DWITHOUT_... it lacks what an old driver lacks. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK 0
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6

typedef struct { int index; } *device;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int gpu, memory; } utilization;
typedef struct { char busIdLegacy[16]; unsigned int domain, bus, device, pciDeviceId, pciSubSystemId; char busId[32]; } pci;

static struct { int index; } all[64];

static int count(void) {
	const char *s = getenv("FAKE_NVML_GPUS");
	int n = s ? atoi(s) : 8;
	return n < 0 ? 0 : n > 64 ? 64 : n;
}

static int say(char *to, unsigned int size, const char *what) {
	snprintf(to, size, "%s", what);
	return OK;
}

static void uuid(int i, char *to, unsigned int size) {
	const char *salt = getenv("FAKE_NVML_SALT");
	snprintf(to, size, "GPU-%08lx-0000-0000-0000-%012d", strtoul(salt ? salt : "0", NULL, 16), i);
}

int nvmlInit_v2(void) {
	const char *s = getenv("FAKE_NVML_INIT");
	for (int i = 0; i < 64; i++) all[i].index = i;
	return s ? atoi(s) : OK;
}
int nvmlInitWithFlags(unsigned int flags) { return nvmlInit_v2(); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int r) { return "a fake error"; }
int nvmlSystemGetDriverVersion(char *to, unsigned int size) { return say(to, size, "550.54.15"); }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 12040; return OK; }
int nvmlDeviceGetCount_v2(unsigned int *n) { *n = count(); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, device *d) {
	if (i >= (unsigned)count()) return INVALID_ARGUMENT;
	*d = (device)&all[i];
	return OK;
}
int nvmlDeviceGetHandleByUUID(const char *s, device *d) {
	char u[96];
	for (int i = 0; i < count(); i++) {
		uuid(i, u, sizeof u);
		if (!strcmp(u, s)) { *d = (device)&all[i]; return OK; }
	}
	return NOT_FOUND;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *s, device *d) { return NOT_FOUND; }
#ifndef WITHOUT_UUID
int nvmlDeviceGetUUID(device d, char *to, unsigned int size) { uuid(d->index, to, size); return OK; }
#endif
int nvmlDeviceGetIndex(device d, unsigned int *i) { *i = d->index; return OK; }
int nvmlDeviceGetName(device d, char *to, unsigned int size) { return say(to, size, "Fake H200"); }
int nvmlDeviceGetMinorNumber(device d, unsigned int *i) { *i = d->index; return OK; }
#ifndef WITHOUT_PCI
int nvmlDeviceGetPciInfo_v3(device d, pci *p) {
	memset(p, 0, sizeof *p);
	snprintf(p->busId, sizeof p->busId, "00000000:%02X:00.0", d->index + 1);
	snprintf(p->busIdLegacy, sizeof p->busIdLegacy, "0000:%02X:00.0", d->index + 1);
	p->bus = d->index + 1;
	return OK;
}
#endif
/* Half of the memory of the first GPU is in use, a quarter of the others'. */
int nvmlDeviceGetMemoryInfo(device d, memory *m) {
	m->total = 1000000000ULL;
	m->used = m->total / (d->index ? 4 : 2);
	m->free = m->total - m->used;
	return OK;
}
int nvmlDeviceIsMigDeviceHandle(device d, unsigned int *is) { *is = 0; return OK; }
int nvmlDeviceGetMaxMigDeviceCount(device d, unsigned int *n) { *n = 0; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(device d, unsigned int i, device *m) { return NOT_FOUND; }
#ifndef WITHOUT_MIG
int nvmlDeviceGetMigMode(device d, unsigned int *now, unsigned int *later) { return NOT_SUPPORTED; }
#endif
#ifndef WITHOUT_COMPUTE
int nvmlDeviceGetBrand(device d, unsigned int *b) { *b = 2; return OK; }
int nvmlDeviceGetCudaComputeCapability(device d, int *major, int *minor) { *major = 9; *minor = 0; return OK; }
int nvmlDeviceGetArchitecture(device d, unsigned int *a) { *a = 9; return OK; }
#endif
#ifndef WITHOUT_UTILIZATION
/* The first works at 10 %, the next at 20 %, and so on. */
int nvmlDeviceGetUtilizationRates(device d, utilization *u) { u->gpu = 10 * (d->index % 10 + 1); u->memory = 99; return OK; }
#endif
