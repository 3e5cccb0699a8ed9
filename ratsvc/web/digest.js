// SHA-256 of a buffer, in hexadecimal; null where the browser has none (it does on localhost and over https alone).

export async function digest(buffer) {
  if (!crypto.subtle) return null;
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
  return [...found].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
