-- Applies a NoCloud seed (meta-data, user-data, network-config, in /run/seed) as cloud-init would: host name and network at every boot; users,
-- keys and files, and later commands, once for each instance-id. What is not understood is told on the console and left out.
local yaml = require "lyaml"

local function read(name)
  local file = io.open(name)
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

local function write(name, text, mode)
  local file, why = io.open(name, mode or "w")
  if not file then print("tiny: " .. why) return end
  file:write(text)
  file:close()
end

local function quote(word) return "'" .. tostring(word):gsub("'", "'\\''") .. "'" end

local function run(...)
  local words = {}
  for i, word in ipairs({...}) do words[i] = quote(word) end
  return os.execute(table.concat(words, " "))
end

local function mapping(value) return type(value) == "table" and value or {} end

local function list(value)
  if value == nil or value == yaml.null then return {} end
  return type(value) == "table" and value or {value}
end

-- text is a scalar as text, nil for what is none.
local function text(value)
  if type(value) == "string" or type(value) == "number" then return tostring(value) end
end

local function parse(name)
  local content = read("/run/seed/" .. name)
  if not content then return {} end
  local ok, value = pcall(yaml.load, content)
  if not ok then print("tiny: " .. name .. ": " .. tostring(value)) end
  return ok and mapping(value) or {}
end

local meta = parse("meta-data")
local userdata = read("/run/seed/user-data") or ""
local config = userdata:match("^#cloud%-config") and parse("user-data") or {}
local state = "/var/lib/tiny/"
local instance = text(meta["instance-id"]) or "none"

-- once says whether a stage has not been through for this instance.
local function once(stage) return read(state .. stage) ~= instance end

local function hostname()
  local name = (text(config.hostname) or text(meta["local-hostname"]) or "tiny"):match("^[%w-]+") or "tiny"
  write("/etc/hostname", name .. "\n")
  write("/proc/sys/kernel/hostname", name)
  write("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 " .. name .. "\n::1 localhost\n")
  return name
end

local function links()
  local found = {}
  for link in io.popen("ls /sys/class/net"):lines() do
    if link ~= "lo" then found[link] = (read("/sys/class/net/" .. link .. "/address") or ""):gsub("%s", ""):lower() end
  end
  return found
end

local function connect(link, wanted, name)
  run("ip", "link", "set", link, "up")
  for _, address in ipairs(list(wanted.addresses)) do run("ip", "address", "add", address, "dev", link) end
  for _, gateway in ipairs({text(wanted.gateway4), text(wanted.gateway6)}) do run("ip", "route", "add", "default", "via", gateway, "dev", link) end
  for _, route in ipairs(list(wanted.routes)) do run("ip", "route", "add", route.to, "via", route.via, "dev", link) end
  local names = mapping(wanted.nameservers)
  for _, server in ipairs(list(names.addresses)) do write("/etc/resolv.conf", "nameserver " .. server .. "\n", "a") end
  if #list(names.search) > 0 then write("/etc/resolv.conf", "search " .. table.concat(names.search, " ") .. "\n", "a") end
  if wanted.dhcp4 == true then
    -- It waits for an address for three seconds, and goes on trying behind everybody's back.
    run("udhcpc", "-b", "-t", "3", "-T", "1", "-A", "2", "-i", link, "-x", "hostname:" .. name, "-O", "search", "-O", "mtu", "-s", "/usr/share/tiny/dhcp")
  end
end

local function network(name)
  local wanted = parse("network-config")
  wanted = mapping(mapping(wanted.network).ethernets or wanted.ethernets)
  if next(wanted) == nil then wanted = {eth0 = {dhcp4 = true}} end
  write("/etc/resolv.conf", "")
  local found = links()
  for id, one in pairs(wanted) do
    local mac = text(mapping(mapping(one).match).macaddress)
    for link, address in pairs(found) do
      if mac and mac:lower() == address or not mac and id == link then connect(link, one, name) end
    end
  end
end

local function authorize(user, keys)
  local home = user == "root" and "/root" or "/home/" .. user
  if #keys == 0 then return end
  run("mkdir", "-p", home .. "/.ssh")
  write(home .. "/.ssh/authorized_keys", table.concat(keys, "\n") .. "\n")
  run("chmod", "-R", "go=", home .. "/.ssh")
  run("chown", "-R", user, home .. "/.ssh")
end

-- add makes a user without a password, unless there is one of that name.
local function add(name, id)
  if ("\n" .. read("/etc/passwd")):find("\n" .. name .. ":", 1, true) then return end
  write("/etc/passwd", ("%s:*:%d:%d::/home/%s:/bin/sh\n"):format(name, id, id, name), "a")
  write("/etc/group", ("%s:x:%d:\n"):format(name, id), "a")
  run("mkdir", "-p", "/home/" .. name)
  run("chown", name .. ":" .. name, "/home/" .. name)
end

-- users makes those that are wanted. Keys that are of nobody's in particular are the first user's and root's: there is no sudo here.
local function users()
  local keys = {}
  for _, key in ipairs(list(meta["public-keys"])) do table.insert(keys, key) end
  for _, key in ipairs(list(config.ssh_authorized_keys)) do table.insert(keys, key) end
  local wanted = list(config.users)
  if #wanted == 0 then wanted = {"default"} end
  authorize("root", keys)
  for i, user in ipairs(wanted) do
    if user == "default" then user = {name = "ciao"} end
    user = type(user) == "string" and {name = user} or user
    local name = text(user.name)
    if name and name:match("^[%l_][%l%d_-]*$") then
      if name ~= "root" then add(name, 999 + i) end
      local own = i == 1 and table.move(keys, 1, #keys, 1, {}) or {}
      authorize(name, table.move(list(user.ssh_authorized_keys), 1, #list(user.ssh_authorized_keys), #own + 1, own))
    end
  end
end

local function decoded(content)
  write("/run/encoded", content)
  local pipe = io.popen("base64 -d /run/encoded")
  local clear = pipe:read("a")
  pipe:close()
  return clear
end

local function files()
  for _, file in ipairs(list(config.write_files)) do
    local path = text(mapping(file).path)
    if path then
      run("mkdir", "-p", path:match("^(.*)/[^/]*$") or "/")
      local content, encoding = text(file.content) or "", text(file.encoding) or ""
      if encoding == "b64" or encoding == "base64" then content = decoded(content) end
      write(path, content, file.append == true and "a" or "w")
      if text(file.permissions) then run("chmod", text(file.permissions), path) end
      if text(file.owner) then run("chown", text(file.owner), path) end
    end
  end
end

local function commands(wanted)
  for _, command in ipairs(list(wanted)) do
    if type(command) == "table" then run(table.unpack(command)) elseif text(command) then os.execute(text(command)) end
  end
end

local stages = {}

function stages.boot()
  local name = hostname()
  network(name)
  commands(config.bootcmd)
  if once("boot") then
    users()
    files()
    write(state .. "boot", instance)
  end
end

function stages.final()
  if once("final") then
    write(state .. "final", instance)
    commands(config.runcmd)
    if userdata:match("^#!") then
      write("/run/user-data", userdata)
      run("chmod", "+x", "/run/user-data")
      run("/run/user-data")
    end
  end
  print("tiny: " .. (read("/etc/hostname") or ""):gsub("%s", "") .. " is up after " .. (read("/proc/uptime") or ""):match("^%S*") .. " s")
end

io.stdout:setvbuf("line")
stages[arg[1]]()
