import { rm } from 'node:fs/promises';
import { describe, expect, it, vi } from 'vitest';
import { serviceFolder, startServiceProcess } from './started-homeostat.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

describe('a service whose Redis is away', () => {
  it('starts, says so once, serves its API, and stops in time', { timeout: 300_000 }, async () => {
    const folder = await serviceFolder({ queue: 'redis://127.0.0.1:1', forecast: { enabled: false } });
    const service = startServiceProcess(folder);
    const { api } = await service.ready;
    expect((await fetch(`${api}/healthz`)).status).toBe(200);
    const stoppedAt = performance.now();
    service.kill('SIGTERM');
    expect(await service.ended).toBe(0);
    expect(performance.now() - stoppedAt).toBeLessThan(60_000);
    expect(service.stderr().match(/ECONNREFUSED/g)?.length).toBe(1);
    await rm(folder.dir, { recursive: true, force: true });
  });
});
