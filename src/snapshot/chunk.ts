/** Bytes read, hashed and written at a time: what fits the processor's second-level cache (measured). */
export const CHUNK = 64 * 1024;
