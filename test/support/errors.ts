import { expect } from 'vitest'
import { TinsmithError } from '../../src/base/errors.js'

/** The error that a promise ends in; the test fails where it is none of ours. */
export async function errorOf(promise: Promise<unknown>): Promise<TinsmithError> {
  const error = await promise.then(
    () => null,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(TinsmithError)
  return error
}
