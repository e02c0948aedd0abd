-- Takes out of kernel modules what costs time when they are loaded and what nobody here reads: the signature (its key is not in the kernel's ring,
-- see make) and the types for BPF, by giving their section another name.
for _, name in ipairs(arg) do
  local file = assert(io.open(name, "rb"))
  local module = file:read("a")
  file:close()
  local magic = "~Module signature appended~\n"
  if module:sub(-#magic) == magic then
    local length = (">I4"):unpack(module, #module - #magic - 3) -- the last of the 12 bytes of struct module_signature (linux/module_signature.h)
    module = module:sub(1, -1 - #magic - 12 - length)
  end
  module = module:gsub("%.BTF\0", ".btf\0")
  file = assert(io.open(name, "wb"))
  assert(file:write(module))
  assert(file:close())
end
