import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const candidates = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = candidates.find((path) => existsSync(path));

/** Suites that need a browser are skipped, by name, where there is none. */
export const chromiumAvailable = executablePath !== undefined;

export interface Chromium {
  newPage(): Promise<Page>;
  readonly context: BrowserContext;
  close(): Promise<void>;
}

/** A real Chromium with a profile of its own; nothing in it talks to the outside. */
export async function startChromium(
  options: Pick<BrowserContextOptions, 'viewport' | 'colorScheme' | 'deviceScaleFactor'> = {},
): Promise<Chromium> {
  if (executablePath === undefined) throw new Error(`no Chromium at ${candidates.join(', ')}`);
  const profile = await mkdtemp(join(tmpdir(), 'homeostat-chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    viewport: { width: 1280, height: 820 },
    ...options,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-dev-shm-usage',
    ],
  });
  return {
    context,
    newPage: () => context.newPage(),
    close: async () => {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}
