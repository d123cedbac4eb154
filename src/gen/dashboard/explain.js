import{h as e,m as t,t as n,y as r}from"./html.js";import{O as i,s as a,w as o,x as s}from"./app.js";function c(e){o(t=>n`<${u} ...${{group:e,close:t}} />`)}const l=[[`class`,`Class`],[`key`,`Key`],[`cost`,`Cost`],[`ttl`,`Wait timeout, such as 30s`]];function u({group:t,close:o}){let[s,c]=r({}),[u,f]=r(),[p,m]=r(),h=()=>{let e=new URLSearchParams(Object.entries(s).filter(([,e])=>e!==``));i(`GET`,`v1/groups/${encodeURIComponent(t)}/explain?${e}`).then(e=>{f(e),m(void 0)},e=>m(e))};return e(h,[]),n`<h2 id="dialog-title">Explain a call to ${t}</h2>
<div class="fields">
${l.map(([e,t],r)=>n`<label
>${t}
<input
...${r===0?{"data-first":!0}:{}}
onInput=${t=>c({...s,[e]:t.target.value})}
onKeyDown=${e=>e.key===`Enter`&&h()}
/></label>`)}
<button class="solid" onClick=${h}>Ask</button>
</div>
${p&&n`<p class="problem" role="alert"><b>${p.title}.</b> ${p.detail}</p>`}
<div role="status">${u&&d(u)}</div>
<div class="buttons"><i /><button onClick=${o}>Close ${a(`Esc`)}</button></div>`}function d(e){let r=e.story;if(Array.isArray(r))return n`${r.map(e=>n`<p>${String(e)}</p>`)}`;if(typeof r==`string`&&r!==``)return n`<p>${r}</p>`;let i=e.refusal,a=e.place;return e.admitted===!0?n`<p><b>It passes at once.</b></p>`:i===void 0?n`<p><b>It waits at place ${a?.place??`not known`}</b>${a?.limit?`, behind ${a.limit}`:``}; ${s(a?.told)}.</p>`:n`<p><b>It is refused as ${t(i.reason)}</b>${i.limit?`, by ${i.limit}`:``}. ${i.detail??``}</p>`}export{c as openExplain};