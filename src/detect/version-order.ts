import type { Operation, Version } from '../domain/operation.ts';

/** What is known of the order of one object's versions. */
export interface VersionOrder {
  /** Takes the order from a write's base. Aborted writes say nothing. */
  learn(operation: Operation): void;
  /** Whether `a` is strictly older than `b`; undefined where the order is unknown, which is never taken for a yes. */
  isOlder(a: Version, b: Version): boolean | undefined;
  /** Whether the version was written again after others had followed it, as digests of contents are: then it stands at several places. */
  isBack(version: Version): boolean;
  /** Bases remembered. */
  readonly size: number;
}

/** Bases remembered per object: a reader that is further behind than this is not judged. */
const basesMax = 512;

/** Integers order themselves; strings are opaque and ordered only by the chain of `version.base`; '' (absent) comes before all. */
export function createVersionOrder(): VersionOrder {
  return new BaseChain();
}

/** A class because there is one for every object, and most of them hold nothing. */
class BaseChain implements VersionOrder {
  #bases: Map<string, string> | undefined;
  #back: Set<string> | undefined;
  /** More came back than are remembered: then nothing is known. */
  #isLost = false;

  get size(): number {
    return this.#bases?.size ?? 0;
  }

  learn(operation: Operation): void {
    const facts = operation.facts;
    if (facts === undefined || typeof facts.version !== 'string' || typeof facts.versionBase !== 'string') return;
    if (!isCommittedWrite(operation) || facts.version === facts.versionBase) return;
    this.#bases ??= new Map();
    const known = this.#bases.get(facts.version);
    if (known === facts.versionBase) return;
    if (known !== undefined || this.#descends(facts.versionBase, facts.version)) {
      this.#noteBack(facts.version);
      return;
    }
    if (this.#bases.size >= basesMax) {
      const oldest = this.#bases.keys().next();
      if (oldest.done !== true) this.#bases.delete(oldest.value);
    }
    this.#bases.set(facts.version, facts.versionBase);
  }

  isBack(version: Version): boolean {
    return typeof version === 'string' && (this.#isLost || this.#back?.has(version) === true);
  }

  isOlder(a: Version, b: Version): boolean | undefined {
    if (a === b) return false;
    if (this.isBack(a) || this.isBack(b)) return undefined;
    if (typeof a === 'bigint' && typeof b === 'bigint') return a < b;
    if (a === '') return true;
    if (b === '') return false;
    if (typeof a === 'bigint' || typeof b === 'bigint') return undefined;
    if (this.#descends(b, a)) return true;
    if (this.#descends(a, b)) return false;
    return undefined;
  }

  #noteBack(version: string): void {
    this.#back ??= new Set();
    if (this.#back.size >= basesMax) this.#isLost = true;
    else this.#back.add(version);
  }

  #descends(from: string, to: string): boolean {
    let at: string | undefined = from;
    for (let i = 0; i < basesMax && at !== undefined; i += 1) {
      at = this.#bases?.get(at);
      if (at === to) return true;
    }
    return false;
  }
}

export function isWriteKind(operation: Operation): boolean {
  return operation.kind === 'write' || operation.kind === 'append' || operation.kind === 'delete' || operation.kind === 'compensate';
}

export function isCommittedWrite(operation: Operation): boolean {
  return isWriteKind(operation) && !operation.failed && operation.facts?.transactionOutcome === 'committed';
}

export function versionWords(version: Version | undefined): string {
  if (version === undefined) return 'an unknown version';
  return version === '' ? 'absent' : `version ${version}`;
}

/** `order 17 `: an object in words. */
export function objectWords(operation: Operation): string {
  const facts = operation.facts;
  if (facts === undefined) return 'an object';
  return facts.objectType === '' ? facts.objectKey : `${facts.objectType} ${facts.objectKey}`;
}
