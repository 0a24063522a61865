-- Takes the latest one back, if there is one. ARGV: window, now.
local window, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('GET', KEYS[1])
if not kept then return true end
local c = slide(cmsgpack.unpack(kept), window, now)
if c[1] == 0 then
    if #c > 1 then c[#c] = nil end
elseif c[4] > 0 then
    c[4] = c[4] - 1
elseif c[3] > 0 then
    c[3] = c[3] - 1
end
if #c == 1 or (c[1] == 1 and c[3] == 0 and c[4] == 0) then
    redis.call('DEL', KEYS[1])
else
    keep(c, window)
end
return true
