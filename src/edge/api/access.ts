/**
 * Who is calling. A bearer token, or a session cookie that a one-time link or a pasted token was exchanged for. Tokens are held as
 * SHA-256; sessions and links are signed, so they need no table and outlive a restart of the process that made them.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { Failure } from '../../base/failure.ts';
import type { Person } from '../../config.ts';

export interface Caller {
  readonly name: string;
  readonly role: Person['role'];
  /** undefined: all domains. */
  readonly domains: readonly string[] | undefined;
}

/** What a role may do, each including what stands left of it; `agent` stands apart and may only push checksums. */
export const roleOrder = ['viewer', 'approver', 'operator', 'admin'] as const;
export type Need = (typeof roleOrder)[number] | 'agent';

export const sessionCookie = 'homeostat_session';
const sessionMs = 12 * 3_600_000;
/** A link is printed at start and opened by hand, maybe after a coffee. */
const linkMs = 3_600_000;
/** Links that were used, until they would have expired anyway. */
const maxUsedLinks = 10_000;

export interface Access {
  /** Whoever has the local token: the user who runs the service, an administrator. */
  readonly local: Caller;
  /** Of a bearer token; null: nobody's. */
  byToken(token: string): Caller | null;
  bySession(cookie: string, nowMs: number): Caller | null;
  openSession(caller: Caller, nowMs: number): { readonly cookie: string; readonly maxAgeS: number };
  makeLink(caller: Caller, nowMs: number): string;
  /** The person that a link was made for; null where it is not ours, too old or used. */
  takeLink(code: string, nowMs: number): Caller | null;
}

/** The local administrator's token under the data directory, made on first use; readable by this user alone. */
export function localToken(dataDir: string): string {
  const file = join(dataDir, 'token');
  try {
    const token = readFileSync(file, 'utf8').trim();
    if (token.length >= 16) return token;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) {
      throw new Failure(
        'token',
        `${file} cannot be read: make it readable for this user, or delete it so that a new one is made.`,
        'never',
        error,
      );
    }
  }
  const token = `hs_${randomBytes(24).toString('base64url')}`;
  mkdirSync(dataDir, { recursive: true });
  try {
    writeFileSync(file, `${token}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    // Another process of ours was first: its token is the one.
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
      const other = readFileSync(file, 'utf8').trim();
      if (other.length >= 16) return other;
      writeFileSync(file, `${token}\n`);
      chmodSync(file, 0o600);
      return token;
    }
    throw new Failure(
      'token',
      `${file} cannot be written: give this user the data directory, or name another with --data.`,
      'never',
      error,
    );
  }
  return token;
}

export function localName(): string {
  try {
    return userInfo().username || 'local';
  } catch {
    return 'local';
  }
}

export function openAccess(local: string, people: readonly Person[]): Access {
  const hash = (text: string): string => createHash('sha256').update(text).digest('hex');
  // The same name as the person of that name in the config: one human with two tokens is not two people.
  const admin: Caller = { name: localName(), role: 'admin', domains: undefined };
  // A name in the config is not empty.
  const callers = new Map<string, Caller>([
    ['', admin],
    ...people.map(({ name, role, domains }): [string, Caller] => [name, { name, role, domains }]),
  ]);
  const ids = new Map([...callers].map(([id, caller]) => [caller, id]));
  const tokens = new Map<string, string>([
    [hash(local), ''],
    ...people.map((person): [string, string] => [hash(person.token), person.name]),
  ]);
  const key = createHash('sha256').update(`homeostat sessions ${local}`).digest();
  const used = new Map<string, number>();

  const sign = (what: string, caller: Caller, untilMs: number): string => {
    const body = Buffer.from(JSON.stringify([what, ids.get(caller), untilMs, randomBytes(9).toString('base64url')])).toString('base64url');
    return `${body}.${createHmac('sha256', key).update(body).digest('base64url')}`;
  };
  const read = (what: string, text: string, nowMs: number): { readonly caller: Caller; readonly untilMs: number } | null => {
    const [body = '', mac = ''] = text.split('.');
    const wanted = createHmac('sha256', key).update(body).digest();
    const given = Buffer.from(mac, 'base64url');
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return null;
    const [is, id, untilMs] = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as [string, string, number];
    const caller = callers.get(id);
    return is === what && untilMs > nowMs && caller !== undefined ? { caller, untilMs } : null;
  };

  return {
    local: admin,
    byToken: (token) => {
      const id = tokens.get(hash(token));
      return id === undefined ? null : (callers.get(id) ?? null);
    },
    bySession: (cookie, nowMs) => read('session', cookie, nowMs)?.caller ?? null,
    openSession: (caller, nowMs) => ({ cookie: sign('session', caller, nowMs + sessionMs), maxAgeS: sessionMs / 1000 }),
    makeLink: (caller, nowMs) => sign('link', caller, nowMs + linkMs),
    takeLink: (code, nowMs) => {
      for (const [old, untilMs] of used) if (untilMs <= nowMs) used.delete(old);
      const link = used.has(code) || used.size >= maxUsedLinks ? null : read('link', code, nowMs);
      if (link === null) return null;
      used.set(code, link.untilMs);
      return link.caller;
    },
  };
}

/** Why a caller may not, as a sentence with the rule's name; null where they may. */
export function refuse(caller: Caller, need: Need, domain: string | undefined): { readonly rule: string; readonly says: string } | null {
  const isEnough =
    need === 'agent'
      ? caller.role === 'agent' || caller.role === 'operator' || caller.role === 'admin'
      : caller.role !== 'agent' && roleOrder.indexOf(caller.role) >= roleOrder.indexOf(need);
  if (!isEnough)
    return {
      rule: 'role',
      says: `${caller.name} is ${caller.role}; this needs the role ${need}: ask an admin to change people.${caller.name}.role in the config.`,
    };
  if (domain !== undefined && caller.domains !== undefined && !caller.domains.includes(domain)) {
    return {
      rule: 'domain',
      says: `${caller.name} is ${caller.role} for ${caller.domains.join(', ')}, not for ${domain}: ask someone who is.`,
    };
  }
  return null;
}
