import { NumberedNames } from '../base/numbered-names.ts';
import { Rows } from '../base/rows.ts';
import type { SpanRef } from '../domain/anomaly.ts';
import type { Version } from '../domain/operation.ts';
import { grainOf, grainUs } from './causality.ts';
import type { KeyedStep } from './keyed-step.ts';
import { idsOf, spanAt, writeIds } from './span-ids.ts';

/** No record. */
export const noRecord = -1;

const stride = 16;
/** Trace and span, six words. */
const ids = 0;
/** Service in the upper half, replica in the lower. */
const names = 6;
/** The record that follows this one in its owner's list. */
const nextWord = 7;
const flags = 8;
const keyLow = 9;
const keyHigh = 10;
/** How long it took, µs. */
const lasted = 11;
const endUs = 12;
const order = 14;

const isDelete = 1;
/** It can have begun and ended later than its span says. */
const isCoarse = 2;
/** Of what took longer, this much is remembered: more than half an hour. */
const lastedMax = 0x7fff_ffff;

/** Names of services and replicas that records may have; those of a fleet are hundreds. Beyond it names are not told apart from "unknown". */
const namesMax = 65_535;

/**
 * What detectors remember of earlier operations: 64 bytes each, in one typed array, for as long as a session or an object is remembered; as
 * objects they took three times that, and most of the time went into collecting them. Records form lists through their `next`, which belong
 * to whoever took them.
 */
export class EarlierOperations {
  readonly #rows = new Rows(stride);
  readonly #services = new NumberedNames(namesMax);
  readonly #replicas = new NumberedNames(namesMax);
  /** Versions that `order` does not hold, by record; most records have none. */
  readonly #versions = new Map<number, Version>();
  readonly #hlcs = new Map<number, string>();

  get bytes(): number {
    // Texts beside the rows are some 60 bytes with their place in the map.
    return this.#rows.bytes + (this.#versions.size + this.#hlcs.size) * 120;
  }

  take(step: KeyedStep, next: number): number {
    const row = this.#rows.take();
    this.#fill(row, step, next);
    return row;
  }

  /** Makes a record that is no longer wanted one of the step. */
  overwrite(row: number, step: KeyedStep): void {
    if (this.#versions.size > 0) this.#versions.delete(row);
    if (this.#hlcs.size > 0) this.#hlcs.delete(row);
    this.#fill(row, step, noRecord);
  }

  #fill(row: number, step: KeyedStep, next: number): void {
    const { operation, facts } = step;
    const { words, doubles } = this.#rows;
    const at = row * stride;
    writeIds(idsOf(operation), words, at + ids);
    words[at + names] = (this.#services.numberOf(operation.service) << 16) | this.#replicas.numberOf(facts.replicaId);
    words[at + nextWord] = next;
    words[at + flags] = (operation.kind === 'delete' ? isDelete : 0) | (grainOf(operation) > 0 ? isCoarse : 0);
    words[at + lasted] = Math.min(lastedMax, Math.max(0, operation.endUs - operation.startUs));
    doubles[(at + endUs) >> 1] = operation.endUs;
    doubles[(at + order) >> 1] = step.order;
    if (Number.isNaN(step.order) && facts.version !== undefined) this.#versions.set(row, facts.version);
    if (facts.hlc !== '') this.#hlcs.set(row, facts.hlc);
  }

  give(row: number): void {
    if (this.#versions.size > 0) this.#versions.delete(row);
    if (this.#hlcs.size > 0) this.#hlcs.delete(row);
    this.#rows.give(row);
  }

  /** Whether the record is of the version that `step` is about. */
  isSameVersion(row: number, step: KeyedStep): boolean {
    const own = this.orderOf(row);
    return Number.isNaN(own) || Number.isNaN(step.order) ? this.versionOf(row) === step.facts.version : own === step.order;
  }

  /** Whether the step's version is strictly older than the record's, as far as is known. */
  isNewerThan(row: number, step: KeyedStep): boolean {
    const own = this.orderOf(row);
    if (!Number.isNaN(own) && !Number.isNaN(step.order)) return step.order < own;
    const version = this.versionOf(row);
    return version !== undefined && step.facts.version !== undefined && step.versions.isOlder(step.facts.version, version) === true;
  }

  /**
   * Whether the record's operation surely ended before `step`'s began. Hybrid logical clocks decide where both have one of the same form; then
   * wall clocks, where two services' clocks may differ by `skewUs`. One service is taken to have one clock, of whatever grain.
   */
  isBefore(row: number, step: KeyedStep, skewUs: number): boolean {
    const { operation, facts } = step;
    if (facts.hlc !== '') {
      const own = this.#hlcs.get(row) ?? '';
      if (own.length === facts.hlc.length && own !== facts.hlc) return own < facts.hlc;
    }
    const isOneClock = this.serviceOf(row) === operation.service;
    return (isOneClock ? this.endedByUs(row) : this.endUsOf(row) + skewUs) <= operation.startUs;
  }

  /** Looks at a record, so that it is near when it is written over. */
  glance(row: number): number {
    return row === noRecord ? 0 : (this.#rows.words[row * stride] as number);
  }

  orderOf(row: number): number {
    return this.#rows.doubles[(row * stride + order) >> 1] as number;
  }

  versionOf(row: number): Version | undefined {
    const number = this.orderOf(row);
    return Number.isNaN(number) ? this.#versions.get(row) : BigInt(number);
  }

  isDelete(row: number): boolean {
    return ((this.#rows.words[row * stride + flags] as number) & isDelete) !== 0;
  }

  endUsOf(row: number): number {
    return this.#rows.doubles[(row * stride + endUs) >> 1] as number;
  }

  /** When it had surely ended, by its own clock. */
  endedByUs(row: number): number {
    return this.endUsOf(row) + (((this.#rows.words[row * stride + flags] as number) & isCoarse) === 0 ? 0 : grainUs);
  }

  startUsOf(row: number): number {
    return this.endUsOf(row) - (this.#rows.words[row * stride + lasted] as number);
  }

  nextOf(row: number): number {
    return this.#rows.words[row * stride + nextWord] as number;
  }

  link(row: number, next: number): void {
    this.#rows.words[row * stride + nextWord] = next;
  }

  /** Two words for the owner: the key under which it keeps the record. */
  mark(row: number, low: number, high: number): void {
    this.#rows.words[row * stride + keyLow] = low;
    this.#rows.words[row * stride + keyHigh] = high;
  }

  keyLowOf(row: number): number {
    return this.#rows.words[row * stride + keyLow] as number;
  }

  keyHighOf(row: number): number {
    return this.#rows.words[row * stride + keyHigh] as number;
  }

  serviceOf(row: number): string {
    return this.#services.nameOf((this.#rows.words[row * stride + names] as number) >>> 16);
  }

  replicaOf(row: number): string {
    return this.#replicas.nameOf((this.#rows.words[row * stride + names] as number) & 0xffff);
  }

  spanOf(row: number): SpanRef {
    return spanAt(this.#rows.words, row * stride + ids);
  }
}
