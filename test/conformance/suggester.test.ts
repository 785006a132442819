import { describe, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { suggestionDigest } from '../../src/domain/suggestion.ts';
import { suggesters } from '../../src/forecast/registry.ts';
import type { Subject, Suggester } from '../../src/forecast/suggester.ts';
import { decideOnSuggestion } from '../../src/guard/suggestion-verdict.ts';

const fresh = (subject: Subject): Subject => ({ ...subject, rng: createRng('conformance') });
const ask = (suggester: Suggester, subject: Subject) => suggester.suggest(fresh(subject));

/** What a suggester is asked about besides is held to the same. */
const asked = suggesters.flatMap((suggester): readonly (Suggester & { readonly about: string })[] => {
  const { id, also } = suggester;
  return [{ ...suggester, about: id }, ...(also === undefined ? [] : [{ ...suggester, ...also, about: `${id} of clients` }])];
});

describe.each(asked)('the suggester $about', (suggester) => {
  test('suggests on its example, with a gain that surely is one and a way back', () => {
    const [suggestion] = ask(suggester, suggester.example);
    if (suggestion === undefined) expect.fail('nothing was suggested');
    const { replay } = suggestion;
    expect(suggestion.kind).toBe(suggester.id);
    expect(replay.gainLow).toBeGreaterThan(0);
    expect(replay.gainHigh).toBeGreaterThanOrEqual(replay.gainLow);
    expect(replay.costWith).toBeLessThan(replay.costWithout);
    expect(replay.curveWith.length).toBe(replay.curveWithout.length);
    expect(replay.curveWith.length).toBeGreaterThan(12);
    expect(replay.unit).not.toBe('');
    expect(suggestion.rollback).not.toBe('');
    // The reason in two sentences, the verdict in one.
    expect(suggestion.because.split(/(?<=[.!?])\s+(?=[A-Z])/).length).toBe(2);
    expect(suggestion.says.split(/(?<=[.!?])\s+(?=[A-Z])/).length).toBe(1);
    expect(suggestion.says).not.toMatch(/NaN|undefined|Infinity/);
    expect(suggestion.because).not.toMatch(/NaN|undefined|Infinity/);
  });

  test('says nothing of its twin', () => {
    expect(ask(suggester, suggester.twin)).toEqual([]);
  });

  test('says nothing where little is recorded, or where the placement was just changed', () => {
    const short = (list: readonly number[]): readonly number[] => list.slice(-20);
    const { example } = suggester;
    const young: Subject = {
      ...example,
      latencyP95Ms: short(example.latencyP95Ms),
      conflicts: short(example.conflicts),
      history: example.history.map((row) => ({
        ...row,
        operations: short(row.operations),
        writes: short(row.writes),
        hottestKeyShare: short(row.hottestKeyShare),
        crossings: short(row.crossings),
      })),
      ...(example.standbys === undefined
        ? {}
        : {
            standbys: {
              ...example.standbys,
              lags: example.standbys.lags.map((lag) => ({
                ...lag,
                replayMs: short(lag.replayMs),
                flushMs: short(lag.flushMs),
                writeMs: short(lag.writeMs),
              })),
            },
          }),
      ...(example.clients === undefined ? {} : { clients: { ...example.clients, operations: example.clients.operations.slice(-20) } }),
    };
    expect(ask(suggester, young)).toEqual([]);
    expect(ask(suggester, { ...example, movedAtMs: example.nowMs - 60_000 })).toEqual([]);
  });

  test('is the same for the same history, in whichever order its parts come', () => {
    const said = ask(suggester, suggester.example);
    expect(ask(suggester, suggester.example)).toEqual(said);
    const { example } = suggester;
    const turned = ask(suggester, { ...example, history: example.history.toReversed(), forecasts: example.forecasts.toReversed() });
    expect(turned.map(suggestionDigest)).toEqual(said.map(suggestionDigest));
  });

  test('is never carried out without people, nor while its domain is frozen', () => {
    const [suggestion] = ask(suggester, suggester.example);
    if (suggestion === undefined) expect.fail('nothing was suggested');
    const { domain, collection, nowMs } = suggester.example;
    const facts = {
      suggestion,
      digest: suggestionDigest(suggestion),
      domain,
      collection,
      nowMs,
      freeze: null,
      breaker: null,
      movesLastDay: 0,
      inWork: null,
    };
    expect(decideOnSuggestion(facts, undefined).is).toBe('review');
    expect(decideOnSuggestion({ ...facts, freeze: { because: 'an audit' } }, undefined).is).toBe('deny');
    const changed = { ...suggestion, action: { ...suggestion.action, parameters: { ...suggestion.action.parameters, extra: 1 } } };
    expect(decideOnSuggestion({ ...facts, suggestion: changed }, undefined)).toMatchObject({
      is: 'deny',
      rules: [{ id: 'digest-identity' }],
    });
  });
});
