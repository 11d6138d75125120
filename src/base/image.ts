/** Pixels of an image, from left to right and from top to bottom. */
export interface Image {
  readonly width: number
  readonly height: number
  /** 1: grey; 2: grey and opacity; 3: red, green, blue; 4: these and opacity. */
  readonly channels: 1 | 2 | 3 | 4
  /** [height, width, channels], 0 to 255. */
  readonly data: Uint8Array | Uint8ClampedArray | Float32Array
}
