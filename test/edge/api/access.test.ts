import { describe, expect, it } from 'vitest';
import { localName, openAccess } from '../../../src/edge/api/access.ts';

const person = { role: 'approver', domains: ['shop'], token: 'a-token-of-one-person' } as const;

describe('the user who runs the service and is a person of the config too', () => {
  const access = openAccess('the-local-token-of-this-host', [{ ...person, name: localName() }]);
  const byLocal = access.byToken('the-local-token-of-this-host');
  const byOwn = access.byToken(person.token);

  it('has one name with both tokens, so that two approvals of theirs are one', () => {
    expect(byLocal?.name).toBe(localName());
    expect(byOwn?.name).toBe(localName());
  });

  it('may with each token what that token says, in its sessions and links too', () => {
    expect([byLocal?.role, byOwn?.role]).toEqual(['admin', 'approver']);
    for (const caller of [byLocal, byOwn]) {
      if (caller === null) throw new Error('no caller');
      expect(access.bySession(access.openSession(caller, 0).cookie, 1)).toBe(caller);
      expect(access.takeLink(access.makeLink(caller, 0), 1)).toBe(caller);
    }
  });

  it('is nobody without a token', () => {
    expect(access.byToken('')).toBeNull();
    expect(access.byToken('another-token-altogether')).toBeNull();
  });
});
