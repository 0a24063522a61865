-- Takes the latest one back, if there is one. ARGV: window, now. Gives 1, or 0 if nothing was counted.
local window, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('GET', KEYS[1])
if not kept then return 0 end
local c = slide(cmsgpack.unpack(kept), window, now)
local given = 1
if c[1] == 0 and #c > 1 then
    c[#c] = nil
elseif c[1] == 1 and c[4] > 0 then
    c[4] = c[4] - 1
elseif c[1] == 1 and c[3] > 0 then
    c[3] = c[3] - 1
else
    given = 0
end
if #c == 1 or (c[1] == 1 and c[3] == 0 and c[4] == 0) then
    redis.call('DEL', KEYS[1])
else
    keep(c, window)
end
return given
