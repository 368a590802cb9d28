// Hundreds of thousands of points, drawn by WebGL. The well-kept libraries for this build their shaders' callers with
// `new Function`, which the page's content-security policy refuses; so this is the little that is needed of it.

import { classRamp, ramp } from "./colour";

const VERTEX = `#version 300 es
layout(location = 0) in vec2 place;   // 0..1 of the data's own range
layout(location = 1) in float shade;  // 0..1 of the colours; below 0: not known
layout(location = 2) in float chosen;
uniform vec4 view;                    // left, bottom, width, height, in the same unit
uniform float size;
uniform float dim;                    // 1: something is chosen, and the others step back
out float vShade;
out float vAlpha;
void main() {
  gl_Position = vec4((place - view.xy) / view.zw * 2.0 - 1.0, 0.0, 1.0);
  gl_PointSize = size * (chosen > 0.5 ? 1.35 : 1.0);
  vShade = shade;
  vAlpha = dim > 0.5 && chosen < 0.5 ? 0.13 : 1.0;
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in float vShade;
in float vAlpha;
uniform sampler2D colours;
uniform vec3 unknown;
uniform float alpha;
out vec4 result;
void main() {
  float far = length(gl_PointCoord - 0.5) * 2.0;
  float edge = 1.0 - smoothstep(0.75, 1.0, far);
  if (edge <= 0.0) discard;
  vec3 tint = vShade < 0.0 ? unknown : texture(colours, vec2(vShade * (255.0 / 256.0) + 0.5 / 256.0, 0.5)).rgb;
  float a = edge * alpha * vAlpha * (vShade < 0.0 ? 0.5 : 1.0);
  result = vec4(tint * a, a);
}`;

export interface Look {
  view: [number, number, number, number]; // left, bottom, width, height, 0..1 of the data
  size: number; // css pixels
  alpha: number;
  dim: boolean;
  classes: boolean;
  unknown: [number, number, number]; // 0..255
}

/** A canvas of points. Where there is no WebGL 2 it draws them in two dimensions, slower. */
export class Points {
  private readonly gl: WebGL2RenderingContext | null;
  private readonly flat: CanvasRenderingContext2D | null = null;
  private program: WebGLProgram | null = null;
  private buffers: WebGLBuffer[] = [];
  private count = 0;
  private place = new Float32Array(0);
  private shade = new Float32Array(0);
  private chosen = new Float32Array(0);

  constructor(readonly canvas: HTMLCanvasElement) {
    this.gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true, preserveDrawingBuffer: true });
    if (this.gl) {
      this.start(this.gl);
      canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
      canvas.addEventListener("webglcontextrestored", () => {
        if (!this.gl) return;
        this.start(this.gl);
        this.set(this.place, this.shade);
        this.choose(this.chosen);
      });
    } else {
      this.flat = canvas.getContext("2d");
    }
  }

  /** Places (x, y in turn, 0..1) and shades (0..1, or -1 where not known). */
  set(place: Float32Array<ArrayBuffer>, shade: Float32Array<ArrayBuffer>): void {
    [this.place, this.shade, this.count] = [place, shade, shade.length];
    if (this.chosen.length !== this.count) this.chosen = new Float32Array(this.count);
    this.load(0, place, 2);
    this.load(1, shade, 1);
    this.load(2, this.chosen, 1);
  }

  /** 1 for each point that is chosen. */
  choose(chosen: Float32Array<ArrayBuffer>): void {
    this.chosen = chosen;
    this.load(2, chosen, 1);
  }

  draw(look: Look): void {
    const { gl, canvas } = this;
    const scale = Math.min(2, window.devicePixelRatio);
    const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const colours = look.classes ? classRamp() : ramp();
    if (!gl || !this.program) {
      this.drawFlat(look, colours, scale);
      return;
    }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.count) return;
    gl.useProgram(this.program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, colours);
    const at = (name: string): WebGLUniformLocation | null => gl.getUniformLocation(this.program as WebGLProgram, name);
    gl.uniform4f(at("view"), ...look.view);
    gl.uniform1f(at("size"), look.size * scale);
    gl.uniform1f(at("dim"), look.dim ? 1 : 0);
    gl.uniform1f(at("alpha"), look.alpha);
    gl.uniform3f(at("unknown"), look.unknown[0] / 255, look.unknown[1] / 255, look.unknown[2] / 255);
    gl.uniform1i(at("colours"), 0);
    gl.drawArrays(gl.POINTS, 0, this.count);
  }

  stop(): void {
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }

  private start(gl: WebGL2RenderingContext): void {
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
      const shader = gl.createShader(kind);
      if (!shader) return;
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "the shaders do not link");
    this.program = program;
    this.buffers = [0, 1, 2].map(() => gl.createBuffer());
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.NEAREST], [gl.TEXTURE_MAG_FILTER, gl.NEAREST], [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]] as const) {
      gl.texParameteri(gl.TEXTURE_2D, name, value);
    }
  }

  private load(slot: number, values: Float32Array<ArrayBuffer>, width: number): void {
    const { gl } = this;
    const buffer = this.buffers[slot];
    if (!gl || !buffer) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(slot);
    gl.vertexAttribPointer(slot, width, gl.FLOAT, false, 0, 0);
  }

  private drawFlat(look: Look, colours: Uint8Array, scale: number): void {
    const { flat, canvas } = this;
    if (!flat) return;
    flat.clearRect(0, 0, canvas.width, canvas.height);
    const [left, bottom, width, height] = look.view;
    for (let i = 0; i < this.count; i += 1) {
      const x = (((this.place[2 * i] as number) - left) / width) * canvas.width;
      const y = canvas.height - (((this.place[2 * i + 1] as number) - bottom) / height) * canvas.height;
      if (!(x > -9 && y > -9 && x < canvas.width + 9 && y < canvas.height + 9)) continue;
      const shade = this.shade[i] as number;
      const k = 4 * Math.round(Math.max(0, Math.min(1, shade)) * 255);
      const tint = shade < 0 ? look.unknown : [colours[k], colours[k + 1], colours[k + 2]];
      flat.fillStyle = `rgb(${tint.join(" ")} / ${look.dim && !this.chosen[i] ? 0.12 : look.alpha})`;
      flat.fillRect(x - (look.size * scale) / 2, y - (look.size * scale) / 2, look.size * scale, look.size * scale);
    }
  }
}
